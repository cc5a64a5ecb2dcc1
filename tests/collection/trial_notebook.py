"""A small notebook for the tests of the commands."""

from pathlib import Path

from nbformat import NotebookNode

from tests.tools import notebook_tools


def write_notebook(notebook: NotebookNode, folder: Path, name: str = "01_trial") -> Path:
    """Write the notebook as ``folder/name.ipynb`` and return the path."""
    path = folder / f"{name}.ipynb"
    notebook_tools.write_notebook(notebook, path)
    return path
