"""The published cases, a file a topic: `<api>_<topic>.py` with a constant `CASES`; found by listing this folder."""
