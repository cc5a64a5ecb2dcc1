"""Execution in fresh kernels: what is stored, and that a failure stores nothing."""

import json
import sys
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_notebook

from tests.collection.trial_notebook import write_notebook
from tests.tools.execute_notebooks import NOTEBOOK_METADATA, main
from tests.tools.notebook_tools import read_notebook

COLLAPSED = {"cellView": "form", "jupyter": {"source_hidden": True}}
PICTURE = """
from IPython.display import Image, display

display(Image(b"", width=9, alt="a line"))
display(Image(b"", width=9))
"""
FULL_OF_WHAT_IS_NOT_STORED = [
    new_code_cell("print('a')\nprint('b', flush=True)\nprint('c')", id="first"),
    new_code_cell("import ipywidgets\nipywidgets.IntSlider()", metadata={"tags": ["interactive"]}),
    new_code_cell("import sys\nsys.executable", metadata={"collapsed": True, "tags": ["setup"]}),
    new_code_cell("import pathlib\npathlib.Path.cwd().name"),
    new_code_cell(PICTURE, metadata={**COLLAPSED, "tags": ["hide-input", "figure"]}),
    new_code_cell("# @title Draw\n\n" + "1\n" * 5, metadata={"tags": ["figure"]}),
    new_code_cell("assert True", metadata={"tags": ["proof"]}),
]


def test_outputs_are_stored_clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A user's own kernel of the same name, which is not to be used.
    kernel = tmp_path / "kernels" / "python3" / "kernel.json"
    kernel.parent.mkdir(parents=True)
    kernel.write_text(json.dumps({"argv": ["no-such"], "display_name": "x", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    book = new_notebook(cells=FULL_OF_WHAT_IS_NOT_STORED, metadata={"widgets": {}})
    path = write_notebook(book, tmp_path)
    before = path.read_bytes()
    assert main([str(path), "--check"]) == 0
    assert path.read_bytes() == before
    assert main([str(path)]) == 0
    stored = read_notebook(path)
    text, slider, executable, folder, image, figure, proof = stored.cells
    assert stored.metadata == NOTEBOOK_METADATA
    assert text.id == "first"
    assert [cell.execution_count for cell in stored.cells] == list(range(1, 8))
    assert [output.text for output in text.outputs] == ["a\nb\nc\n"]
    assert slider.outputs == [] and slider.metadata == {"tags": ["interactive"]}
    assert executable.outputs[0].data["text/plain"] == repr(sys.executable)
    alt = {"image/png": {"alt": "a line"}}
    assert [output.metadata for output in image.outputs] == [alt, {}]
    # Collapsed by their tags alone: the picture has but three lines.
    assert image.metadata == {"tags": ["figure"]} and text.metadata == {}
    for cell, tag in ((executable, "setup"), (figure, "figure"), (proof, "proof")):
        assert cell.metadata == {**COLLAPSED, "tags": [tag, "hide-input"]}
    assert folder.outputs[0].data["text/plain"] == repr(tmp_path.name)


def test_a_failure_stores_nothing_and_the_others_run(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    sources = {"01_raises": "1 / 0", "02_hangs": "while True: pass", "03_good": "1 + 1"}
    paths = [
        write_notebook(new_notebook(cells=[new_code_cell(source)]), tmp_path, name)
        for name, source in sources.items()
    ]
    before = [path.read_bytes() for path in paths]
    assert main([*map(str, paths), "--timeout", "2"]) == 1
    assert [path.read_bytes() == old for path, old in zip(paths, before, strict=True)] == [
        *(True, True, False)
    ]
    assert sorted(tmp_path.iterdir()) == paths
    printed = capfd.readouterr()
    assert "03_good.ipynb: 0.0" in printed.out
    assert "failed: 01_raises.ipynb, 02_hangs.ipynb" in printed.err
    for part in ("01_raises.ipynb: cell 1 failed", "1 / 0", "ZeroDivisionError: division by zero"):
        assert part in printed.err
    hang = "02_hangs.ipynb: cell 1 failed\nwhile True: pass\nCellTimeoutError"
    assert hang in printed.err
