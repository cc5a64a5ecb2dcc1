"""Commands of the maintainers: execute, exercises, results table, gallery, Colab."""
