"""Stage 3: from a model repository to running endpoints."""
