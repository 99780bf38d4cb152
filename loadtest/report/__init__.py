"""The report as HTML, Markdown and text. Reads what `loadtest.analysis` computed, and nothing else."""
