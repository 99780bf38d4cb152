"""One file or folder a server."""
