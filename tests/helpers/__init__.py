"""Unit tests of `helpers`, one file per module."""
