"""The other systems of the server benchmark, each in the least code that its documentation shows."""
