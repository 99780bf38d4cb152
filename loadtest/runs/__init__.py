"""Whole measurements: the comparison, calibration, in-process runs and the search for a rate under a target."""
