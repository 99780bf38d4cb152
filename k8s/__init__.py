"""The comparison on a cluster: images, manifests and the commands for them (`python -m k8s --help`)."""
