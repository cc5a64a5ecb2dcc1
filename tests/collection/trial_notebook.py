"""Small notebooks for the tests of the commands, and a lesson in which nothing is wrong."""

import io
from copy import deepcopy
from functools import cache
from pathlib import Path

import PIL.Image
from IPython.display import Image
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from helpers.reporting import RESULTS_MIME_TYPE
from tests.collection.notebook_hygiene import StoredNotebook, setup_source
from tests.tools import notebook_tools
from tests.tools.execute_notebooks import clean_notebook

TITLE = """# Which square is larger?

[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/{repository}/blob/main/notebooks/01_trial.ipynb)

Two squares grow. One of them is larger.

**Cost:** about one CPU minute."""
IMPORTS = """# @title Imports
import io

import PIL.Image
from IPython.display import Image, display

from helpers.reporting import Claim, Result, show_report"""
SQUARES = '''
def square(*widths: int) -> Image:
    """A square as a picture, which grows if there is more than one width."""
    frames, file = [PIL.Image.new("L", (9, width)) for width in widths], io.BytesIO()
    frames[0].save(file, "png", save_all=True, append_images=frames[1:])
    return Image(file.getvalue(), alt=f"a square that is {widths[-1]} pixels wide")
'''.strip()
QUESTION = """## Which one grows?

The first has the area $a^2$. **Predict before you run.** Which one grows?

<details><summary>Derivation</summary>

The slope of the area is $$\\frac{\\partial a^2}{\\partial a} = 2a.$$

</details>

And now the picture."""
ANSWER = "**Answer.** The *second* square grows by a pixel.\n\n**Takeaway.** Look at `draw_graph`."
STATEMENT = """**Exercise {n}: Add {n}.** Write `add_{n}`.

<details><summary>Hint</summary>

What is $x + {n}$?

</details>"""
SOLUTION = 'def add_{n}(x):\n    """Return x plus {n}."""\n    return x + {n}'
CLAIM = {
    "source": "2018 a",
    "claim": "The first square is the larger one.",
    "verdict": "depends",
    "evidence": "it depends on where both of them begin; the median of all widths is 3",
}
JUDGED = """“The first square is the larger one.” Right or wrong?

<details><summary>Answer</summary>

*Wrong{n}.* It has fewer pixels, $3^2$, than the other in each of {n} pictures.

</details>"""
RESULT = {"setting": "width", "reported": "3", "measured": "4"}
REPORT = f"# @title The claims\nshow_report('01_trial', [Claim(**{CLAIM})], [Result(**{RESULT})])"


def write_notebook(notebook: NotebookNode, folder: Path, name: str = "01_trial") -> Path:
    """Write the notebook as ``folder/name.ipynb`` and return the path."""
    path = folder / f"{name}.ipynb"
    notebook_tools.write_notebook(notebook, path)
    return path


def picture(*widths: int) -> NotebookNode:
    """Return the output of ``display(square(*widths))`` in the lesson."""
    scope = {"PIL": PIL, "io": io, "Image": Image}
    exec(SQUARES, scope)
    data, metadata = scope["square"](*widths)._repr_mimebundle_()
    return new_output("display_data", data={**data, "text/plain": "<Image>"}, metadata=metadata)


@cache
def _cells() -> list[NotebookNode]:
    def text(source: str, *tags: str) -> None:
        cells.append(new_markdown_cell(source, metadata={"tags": [*tags]}))

    def code(tags: str, source: str, *outputs: NotebookNode) -> None:
        cells.append(new_code_cell(source, metadata={"tags": tags.split()}, outputs=[*outputs]))

    cells: list[NotebookNode] = []
    first = StoredNotebook(notebook_tools.notebook_paths()[0])
    text(TITLE.format(repository=notebook_tools.stored_repository()))
    code("setup", setup_source(first))
    code("imports", IMPORTS)
    code("implementation", SQUARES)
    code("figure", "display(square(*range(1, 9)))", picture(*range(1, 9)))
    text(QUESTION)
    code("experiment", "widths = [3, 4]\nprint(widths)", new_output("stream", text="[3, 4]\n"))
    drawn = "# @title Draw both\n" + 5 * "display(square(*widths))\n"
    code("figure", drawn.strip(), *(picture(3, 4) for _ in range(5)))
    text(ANSWER, "solution")
    code("proof", "# @title Proof\nassert widths[1] == widths[0] + 1")
    text("## Exercises")
    for n in range(1, 5):
        text(STATEMENT.format(n=n))
        code("implementation solution", SOLUTION.format(n=n))
        code("check", f"assert add_{n}(1) == {n + 1}, 'expected {n + 1}'")
    text("**Exercise 5 (open): Draw a circle.** Change `square`, look, explain.")
    text("## Right or wrong?")
    for n in range(2, 6):
        text(JUDGED.format(n=n))
    text("## Where to go next\n\nDraw more.")
    text("## Appendix: proofs and the reports' claims")
    report = {"notebook": "01_trial", "claims": [CLAIM], "results": [RESULT]}
    data = {RESULTS_MIME_TYPE: report, "text/plain": "1 claim"}
    code("report", REPORT, new_output("display_data", data=data))
    return cells


def lesson() -> NotebookNode:
    """Return a notebook that keeps to all rules of the second edition, as ``01_trial.ipynb``."""
    made = new_notebook(cells=deepcopy(_cells()))
    clean_notebook(made)
    code = [cell for cell in made.cells if cell.cell_type == "code"]
    for position, cell in enumerate(made.cells):
        cell.id = f"trial-{position:02d}"
    for count, cell in enumerate(code, start=1):
        cell.execution_count = count
    return made
