"""From raw times to verdicts. Pure functions: no processes, no sockets."""
