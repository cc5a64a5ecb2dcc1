"""The notebooks in JupyterLab in Chromium: every cell runs, and what a student sees is right.

By default notebooks 01 and 03, which have sliders and are quick; the environment's
``BROWSER_NOTEBOOKS`` names others, as ``all`` or by their numbers (``01 05``). Without a browser
these tests are skipped, but fail where ``REQUIRE_BROWSER`` is set, as in ``.ci/run``. Each notebook
leaves screenshots; `tests.collection.jupyterlab_in_chromium` says where.
"""

import os
import re
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tests.collection.jupyterlab_in_chromium import BrowserMissing, find_browser, open_notebook
from tests.collection.notebook_page import RunFailed
from tests.collection.trial_notebook import write_notebook
from tests.tools.execute_notebooks import NOTEBOOK_METADATA
from tests.tools.notebook_tools import PROJECT, cell_tags, notebook_paths, read_notebook

WITH_SLIDERS = ("01", "03")
RUN_SECONDS = 1800
SLIDER_SECONDS = 30


def chosen_notebooks(choice: str) -> list[Path]:
    """Return the notebooks that ``BROWSER_NOTEBOOKS`` names; those with sliders if it is empty.

    Raises
    ------
    ValueError
        If a word is neither ``all`` nor the number of a notebook.
    """
    known = {path.name[:2]: path for path in notebook_paths()}
    numbers = choice.replace(",", " ").split() or list(WITH_SLIDERS)
    if numbers == ["all"]:
        return list(known.values())
    if unknown := [number for number in numbers if number not in known]:
        raise ValueError(
            f"BROWSER_NOTEBOOKS: expected 'all' or numbers of {', '.join(known)}, as in '01 05'; "
            f"found {' '.join(unknown)!r} in {choice!r}"
        )
    return [known[number] for number in numbers]


def require_browser() -> None:
    """Skip the test where there is no browser; fail it where there must be one."""
    try:
        find_browser()
    except BrowserMissing as reason:
        if os.environ.get("REQUIRE_BROWSER"):
            pytest.fail(str(reason), pytrace=False)
        pytest.skip(str(reason))
    if version("ipywidgets").startswith("7."):
        pytest.skip("JupyterLab 4 shows the sliders of ipywidgets 8; 7 is for Colab")


@pytest.mark.parametrize(
    "path",
    chosen_notebooks(os.environ.get("BROWSER_NOTEBOOKS", "")),
    ids=lambda path: path.stem,
)
def test_a_notebook_runs_in_jupyterlab(path: Path) -> None:
    require_browser()
    artifacts = Path(os.environ.get("ARTIFACTS") or PROJECT / "artifacts")
    with open_notebook(path) as page:
        try:
            page.run_all(RUN_SECONDS)
        finally:  # of a notebook that fails, too
            page.save_screenshots(artifacts, path.stem)
        assert page.faults() == []
        sliders = page.sliders()
        assert len(sliders) == sliders_in(path)
        for slider in sliders:
            page.move_slider(slider, SLIDER_SECONDS)


def sliders_in(path: Path) -> int:
    """Count the sliders that a notebook makes."""
    count = sum(
        len(re.findall(r"\w+Slider\(", cell.source))
        for cell in read_notebook(path).cells
        if "interactive" in cell_tags(cell)
    )
    assert count or path.name[:2] not in WITH_SLIDERS, f"{path.name} has no slider"
    return count


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
    new_markdown_cell(f"|{'a' * 400}|\n|---|\n|b|", id="table"),
    new_code_cell(f"import sys\nassert sys.executable == {sys.executable!r}", id="kernel"),
    new_code_cell("print('a warning', file=sys.stderr)", id="warns"),
    new_code_cell("1 + 1", outputs=[PNG], id="no-figure"),
    new_code_cell(RED_BAR, id="red-bar"),
    new_code_cell(SLIDER_WITHOUT_OBSERVER, id="slider"),
    new_code_cell("wrong = 1 / 0", id="raises"),
    new_code_cell("2 + 2", id="last"),
]


def test_faults_are_seen(tmp_path: Path) -> None:
    require_browser()
    path = write_notebook(new_notebook(cells=FAULTY_CELLS, metadata=NOTEBOOK_METADATA), tmp_path)
    with open_notebook(path) as page:
        with pytest.raises(RunFailed, match=r"(?s)raises failed.*= 1 / 0.*ZeroDivisionError"):
            page.run_all(60)
        faults = page.faults()
        (slider,) = page.sliders()
        with pytest.raises(RunFailed, match="after 1 s: the slider moved, but its figure"):
            page.move_slider(slider, 1)
    assert list(dict.fromkeys(fault.partition(":")[0] for fault in faults)) == [
        *("formula", "macro", "dollars", "picture", "table", "warns", "no-figure"),
        *("red-bar", "raises"),
    ], "\n".join(faults)


def test_a_missing_browser_skips_here_and_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REQUIRE_BROWSER", raising=False)
    monkeypatch.setenv("PATH", "")
    advice = "no browser .chromium, .*no browser driver .*apt-get install chromium chromium-driver"
    with pytest.raises(pytest.skip.Exception, match=advice):
        require_browser()
    monkeypatch.setenv("REQUIRE_BROWSER", "1")
    with pytest.raises(pytest.fail.Exception, match=advice):
        require_browser()


def test_notebooks_are_chosen_by_their_numbers() -> None:
    assert [path.name[:2] for path in chosen_notebooks("")] == ["01", "03"]
    assert [path.name[:2] for path in chosen_notebooks("05, 01")] == ["05", "01"]
    assert chosen_notebooks("all") == notebook_paths()
    with pytest.raises(ValueError, match=r"BROWSER_NOTEBOOKS: expected .* 07, .* found '7 x'"):
        chosen_notebooks("7 01 x")


def test_a_notebook_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no notebook .*08_none"):
        with open_notebook(tmp_path / "08_none.ipynb"):
            pass
