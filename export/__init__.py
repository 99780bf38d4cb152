"""Stage 2: from trained models to a checked model repository."""
