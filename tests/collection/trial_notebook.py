"""Small notebooks for the tests of the commands, and a lesson in which nothing is wrong."""

import base64
import io
from copy import deepcopy
from functools import cache
from pathlib import Path

import PIL.Image
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from helpers.reporting import RESULTS_MIME_TYPE
from tests.collection.notebook_hygiene import setup_source
from tests.tools import notebook_tools
from tests.tools.execute_notebooks import clean_notebook

TITLE = """# Which square is larger?

{badge_line}

Two squares grow. One of them is larger.

**Cost:** about one CPU minute."""
IMPORTS = """# @title Imports
import matplotlib.pyplot as plt

from helpers.diagrams import draw_graph
from helpers.plotting import explore
from helpers.plotting import animate, show
from helpers.reporting import Claim, Result, show_report"""
SQUARE = '''
def square(width):
    """Return a figure with a square, always the same."""
    figure = plt.figure(1, clear=True)
    figure.subplots().barh([0], [width], width)
    return figure
'''.strip()
DRAWN = """# @title Draw both
for width in widths:
    show(square(width), alt=f"a square that is {width} pixels wide")
figure, axes = plt.subplots()
draw_graph(axes, {"a": (), "a²": ("a",)}, values={"a": 3.0})
show(figure, alt="the area, computed from the width")"""
PROOF = "# @title Proof\ngap = widths[1] - widths[0]\nassert gap == 1"
QUESTION = """## Which one grows?

The first has the area $a^2$. **Predict before you run.** Which one grows?

<details><summary>Derivation</summary>

The slope of the area is $$\\frac{\\partial a^2}{\\partial a} = 2a.$$

</details>

And now the picture."""
ANSWER = "**Answer.** The *second* square grows by a pixel.\n\n**Takeaway.** Look at both squares."
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


def picture(frames: int = 1) -> NotebookNode:
    """Return the output of `show`, or of `animate`, as far as the tests look at it."""
    first, *others = [PIL.Image.new("L", (9, 9 + i)) for i in range(frames)]
    file = io.BytesIO()
    first.save(file, "png", save_all=True, append_images=others)
    data = {"image/png": base64.b64encode(file.getvalue()).decode(), "text/plain": "<Image>"}
    metadata = {"image/png": {"alt": "a square"}}
    return new_output("display_data", data=data, metadata=metadata)


@cache
def _cells() -> list[NotebookNode]:
    def text(source: str, *tags: str) -> None:
        cells.append(new_markdown_cell(source, metadata={"tags": [*tags]}))

    def code(tags: str, source: str, *outputs: NotebookNode) -> None:
        cells.append(new_code_cell(source, metadata={"tags": tags.split()}, outputs=[*outputs]))

    cells: list[NotebookNode] = []
    first = notebook_tools.StoredNotebook(notebook_tools.notebook_paths()[0])
    text(TITLE.format(badge_line=notebook_tools.badge_line("01_trial.ipynb")))
    code("setup", setup_source(first))
    code("imports", IMPORTS)
    code("implementation", SQUARE)
    code("figure", "animate(square, [1, 2], alt='a square that grows')", picture(frames=2))
    text(QUESTION)
    code("experiment", "widths = [3, 4]\nprint(widths)", new_output("stream", text="[3, 4]\n"))
    code("figure", DRAWN, picture(), picture(), picture())
    text(ANSWER, "solution")
    code("proof", PROOF)
    code("interactive", "explore(square, width=(1, 9, 1, 3))")
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
