"""Stage 1: the twins."""
