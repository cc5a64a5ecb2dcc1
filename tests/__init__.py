"""Unit tests, notebook tests and the commands that maintain the notebooks."""
