"""Models behind a server of our own: load, batch, run, replace. Knows tensors, and no protocol."""
