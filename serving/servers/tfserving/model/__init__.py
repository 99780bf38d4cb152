"""Versions of SavedModels: which are served, how they are loaded, how they are run."""
