"""Tests of what the notebooks teach, and of their exercises."""
