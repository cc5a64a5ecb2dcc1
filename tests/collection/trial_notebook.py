"""A minimal notebook without faults, for the tests of the notebook tools."""

from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from helpers.reporting import RESULTS_MIME_TYPE

NAME = "01_trial"
TITLE = f"""# Trial

About squares: about 1 CPU minute.

[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](\
https://colab.research.google.com/github/owner/project/blob/main/notebooks/{NAME}.ipynb)
"""
SECTION = (
    "## See squares\n\nAs the [first section](#See-squares) of [this file](01_trial.ipynb) says."
)
REPORT = {
    "notebook": NAME,
    "results": [{"setting": "two squared", "reported": "about 4", "measured": 4}],
    "claims": [
        {"source": "2017", "claim": "it is 4", "verdict": "right", "evidence": "2 * 2"},
        {"source": "2017", "claim": "it is 5", "verdict": "wrong", "evidence": "2 * 2"},
    ],
}


def good_notebook() -> NotebookNode:
    """Return a new one: title, setup, imports, section, two code cells, report, exercises."""
    picture = new_output("display_data", data={"image/png": "aGVsbG8=", "text/plain": "<Figure>"})
    report = new_output(
        "display_data", data={RESULTS_MIME_TYPE: REPORT, "text/markdown": "| a |\n| --- |"}
    )
    setup = 'REPOSITORY = "https://github.com/owner/project"'
    cells = [
        new_markdown_cell(TITLE),
        new_code_cell(setup, metadata={"tags": ["setup"]}),
        new_code_cell("import math", metadata={"tags": ["imports"]}),
        new_markdown_cell(SECTION),
        new_code_cell(
            "def square(x):\n    return math.prod((x, x))", metadata={"tags": ["implementation"]}
        ),
        new_code_cell("draw(square)", outputs=[picture]),
        new_markdown_cell("## Reports against measurements"),
        new_code_cell("show_report()", outputs=[report]),
        new_markdown_cell("## Further exercises\n\n1. Cube."),
    ]
    for count, cell in enumerate((c for c in cells if c.cell_type == "code"), start=1):
        cell.execution_count = count
    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    return new_notebook(cells=cells, metadata={"kernelspec": kernel})


def write_notebook(notebook: NotebookNode, folder: Path, name: str = NAME) -> Path:
    """Write the notebook as ``folder/name.ipynb`` and return the path."""
    path = folder / f"{name}.ipynb"
    nbformat.write(notebook, path)
    return path
