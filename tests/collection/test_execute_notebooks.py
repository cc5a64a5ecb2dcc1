"""Execution in fresh kernels: what is stored, and that a failure stores nothing."""

import json
import sys
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_notebook

from tests.collection.trial_notebook import write_notebook
from tests.tools.execute_notebooks import NOTEBOOK_METADATA, main
from tests.tools.notebook_tools import read_notebook

FULL_OF_WHAT_IS_NOT_STORED = [
    new_code_cell("print('a')\nprint('b', flush=True)\nprint('c')", id="first"),
    new_code_cell("import ipywidgets\nipywidgets.IntSlider()", metadata={"tags": ["interactive"]}),
    new_code_cell("import sys\nsys.executable", metadata={"collapsed": True, "tags": ["setup"]}),
    new_code_cell("import pathlib\npathlib.Path.cwd().name"),
    new_code_cell("from IPython.display import Image, display\ndisplay(Image(b'', width=9))"),
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
    text, slider, executable, folder, image = stored.cells
    assert stored.metadata == NOTEBOOK_METADATA
    assert text.id == "first" and [cell.execution_count for cell in stored.cells] == [1, 2, 3, 4, 5]
    assert [output.text for output in text.outputs] == ["a\nb\nc\n"]
    assert slider.outputs == [] and slider.metadata == {"tags": ["interactive"]}
    assert executable.outputs[0].data["text/plain"] == repr(sys.executable)
    assert executable.metadata == {"tags": ["setup"]} and image.outputs[0].metadata == {}
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
