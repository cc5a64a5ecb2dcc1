"""The notebooks in JupyterLab in Chromium: every cell runs, and what a student sees is right.

By default notebook 01, which is quick and has sliders; the environment's ``BROWSER_NOTEBOOKS``
names others, as ``all`` or by their numbers (``01 03``). Without a browser these tests are skipped,
but fail where ``REQUIRE_BROWSER`` is set, as in ``.ci/run``. After a failure the page is in
``artifacts/``.
"""

import os
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tests.collection.jupyterlab_in_chromium import jupyterlab, require_browser
from tests.collection.notebook_page import NotebookPage, RunFailed
from tests.tools.execute_notebooks import INTERACTIVE_TAG, NOTEBOOK_METADATA
from tests.tools.notebook_tools import PROJECT, cell_tags, notebook_paths, write_notebook

KNOWN = {path.name[:2]: path for path in notebook_paths()}
CHOICE = os.environ.get("BROWSER_NOTEBOOKS", "01")
CHOSEN = [KNOWN[number] for number in (KNOWN if CHOICE == "all" else CHOICE.split())]
ARTIFACTS = Path(os.environ.get("ARTIFACTS", PROJECT / "artifacts"))
RUN_SECONDS = 1800
SLIDER_SECONDS = 120

SLIDER_WITHOUT_OBSERVER = """
import io, ipywidgets, PIL.Image
file = io.BytesIO()
PIL.Image.new("L", (9, 9)).save(file, "png")
ipywidgets.VBox([ipywidgets.IntSlider(), ipywidgets.Image(value=file.getvalue())])
"""
RED_BAR = "import ipywidgets\nipywidgets.IntProgress(4, bar_style='danger')"
PNG = new_output("display_data", data={"image/png": "aGVsbG8="})
FAULTY_CELLS = [
    new_markdown_cell("`$x$` is code, $x$ is maths, $\\frac{1}$ is wrong", id="formula"),
    new_markdown_cell("$\\nosuchmacro$", id="macro"),
    new_markdown_cell("*$$x$ $*", id="dollars"),
    new_markdown_cell("![a picture](nowhere.png)", id="picture"),
    new_markdown_cell("<details open><summary>Hint</summary>\n\na\n\n</details>", id="fold"),
    new_markdown_cell("<details><summary>Answer</summary></details>", id="empty-fold"),
    new_markdown_cell("<details><summary>Good</summary>\n\n$x$\n\n</details>", id="good-fold"),
    new_markdown_cell(f"|{'a' * 400}|\n|---|\n|b|", id="table"),
    new_code_cell(f"import sys\nassert sys.executable == {sys.executable!r}", id="kernel"),
    new_code_cell("print('a warning', file=sys.stderr)", id="warns"),
    new_code_cell("1 + 1", outputs=[PNG], execution_count=2, id="no-figure"),
    new_code_cell("3 + 3", metadata={"jupyter": {"source_hidden": True}}, id="no-caption"),
    new_code_cell(RED_BAR, id="red-bar"),
    new_code_cell(SLIDER_WITHOUT_OBSERVER, id="slider"),
    new_code_cell("wrong = 1 / 0", id="raises"),
    new_code_cell("2 + 2", id="last"),
]


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A notebook with a fault in almost every cell."""
    path = tmp_path_factory.mktemp("notebooks") / "faulty.ipynb"
    write_notebook(new_notebook(cells=FAULTY_CELLS, metadata=NOTEBOOK_METADATA), path)
    return path


@pytest.fixture(scope="module")
def open_notebook(faulty: Path) -> Iterator[Callable[[Path], NotebookPage]]:
    """One server and one browser for all; no test, or a failure, where there is no browser."""
    require_browser()
    if version("ipywidgets").startswith("7."):
        pytest.skip("JupyterLab 4 shows the sliders of ipywidgets 8; 7 is for Colab")
    with jupyterlab([*CHOSEN, faulty]) as opener:
        yield opener


@pytest.mark.parametrize("path", CHOSEN, ids=lambda path: path.stem)
def test_a_notebook_runs_in_jupyterlab(path: Path, open_notebook) -> None:
    page = open_notebook(path)
    try:
        assert page.closed_faults() == []
        page.run_all(RUN_SECONDS)
        assert page.faults() == []
        sliders = page.sliders()
        assert bool(sliders) == any(INTERACTIVE_TAG in cell_tags(c) for c in page.notebook.cells)
        for slider in sliders:
            page.move_slider(slider, SLIDER_SECONDS)
    except BaseException:
        ARTIFACTS.mkdir(exist_ok=True)
        page.window.save_screenshot(str(ARTIFACTS / f"{path.stem}.png"))
        raise


def test_faults_are_seen(faulty: Path, open_notebook) -> None:
    page = open_notebook(faulty)
    before = page.closed_faults()
    assert [fault.partition(":")[0] for fault in before] == [
        *("no-caption", "fold 'Hint'", "fold 'Answer'"),
    ], "\n".join(before)
    with pytest.raises(RunFailed, match=r"(?s)raises failed.*= 1 / 0.*ZeroDivisionError"):
        page.run_all(RUN_SECONDS)
    faults = page.faults()
    assert list(dict.fromkeys(fault.partition(":")[0] for fault in faults)) == [
        *("formula", "macro", "dollars", "picture", "table", "warns", "no-figure"),
        *("red-bar", "raises"),
    ], "\n".join(faults)
    (slider,) = page.sliders()
    with pytest.raises(RunFailed, match="after 1 s: the slider moved, but its figure"):
        page.move_slider(slider, 1)
