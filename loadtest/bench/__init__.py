"""Benchmarks of this project's own servers and client, beside other systems."""
