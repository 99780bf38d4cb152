"""Stage 4: from running endpoints to results and a report."""
