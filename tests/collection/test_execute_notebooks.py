"""Execution in fresh kernels: what is stored, and that a failure stores nothing."""

import json
import sys
from pathlib import Path

import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

from tests.collection.trial_notebook import write_notebook
from tests.tools.execute_notebooks import NOTEBOOK_METADATA, main
from tests.tools.notebook_tools import read_notebook


def write_cells(folder: Path, *sources: str) -> Path:
    return write_notebook(new_notebook(cells=[new_code_cell(text) for text in sources]), folder)


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> NotebookNode:
    """A notebook full of what is not to be stored, executed."""
    cells = [
        new_code_cell("print('a')\nprint('b', flush=True)\nprint('c')", id="first"),
        new_code_cell(
            "import ipywidgets\nipywidgets.IntSlider()", metadata={"tags": ["interactive"]}
        ),
        new_code_cell(
            "import sys\nsys.executable", metadata={"collapsed": True, "tags": ["setup"]}
        ),
        new_code_cell("import pathlib\npathlib.Path.cwd().name"),
        new_code_cell("from IPython.display import Image, display\ndisplay(Image(b'', width=9))"),
    ]
    metadata = {"widgets": {}, "language_info": {"name": "python", "version": "3.0.0"}}
    book = new_notebook(cells=cells, metadata=metadata)
    path = write_notebook(book, tmp_path_factory.mktemp("folder"))
    assert main([str(path)]) == 0
    return read_notebook(path)


def test_cells_are_counted_and_keep_their_ids(executed: NotebookNode) -> None:
    assert [cell.execution_count for cell in executed.cells] == [1, 2, 3, 4, 5]
    assert executed.cells[0].id == "first"


def test_consecutive_outputs_of_a_stream_are_one(executed: NotebookNode) -> None:
    (output,) = executed.cells[0].outputs
    assert output.text == "a\nb\nc\n"


def test_interactive_outputs_and_widget_state_are_not_stored(executed: NotebookNode) -> None:
    assert executed.cells[1].outputs == []
    assert executed.metadata == NOTEBOOK_METADATA


def test_of_a_cells_metadata_only_the_tags_stay(executed: NotebookNode) -> None:
    assert [cell.metadata for cell in executed.cells[:3]] == [
        {},
        {"tags": ["interactive"]},
        {"tags": ["setup"]},
    ]
    assert executed.cells[4].outputs[0].metadata == {}


def test_the_kernel_is_this_interpreters_in_the_notebooks_folder(executed: NotebookNode) -> None:
    assert executed.cells[2].outputs[0].data["text/plain"] == repr(sys.executable)
    assert executed.cells[3].outputs[0].data["text/plain"].startswith("'folder")


def test_a_users_kernel_of_the_same_name_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "kernels" / "python3"
    folder.mkdir(parents=True)
    specification = {"argv": ["no-such-python"], "display_name": "x", "language": "python"}
    (folder / "kernel.json").write_text(json.dumps(specification))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    assert main([str(write_cells(tmp_path, "1 + 1"))]) == 0


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("print('seen')\n1 / 0", "ZeroDivisionError: division by zero"),
        ("import time\ntime.sleep(60)", "CellTimeoutError"),
        ("import os\nos._exit(1)", "DeadKernelError"),
    ],
)
def test_after_a_failure_the_file_is_as_it_was(
    source: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failing = write_cells(tmp_path, "1 + 1", source)
    before = failing.read_bytes()
    assert main([str(failing), "--timeout", "3"]) == 1
    assert failing.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [failing.name]
    message = capsys.readouterr().err
    assert f"{failing.name}: cell 2 failed" in message
    assert source.splitlines()[-1] in message
    assert reason in message


def test_the_others_run_after_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    failing = write_cells(tmp_path, "1 / 0")
    good = write_notebook(new_notebook(cells=[new_code_cell("1 + 1")]), tmp_path, "02_good")
    assert main([str(failing), str(good)]) == 1
    assert read_notebook(good).cells[0].execution_count == 1
    printed = capsys.readouterr()
    assert "02_good.ipynb: 0.0" in printed.out
    assert "failed, left as they were: 01_trial.ipynb" in printed.err


def test_check_writes_nothing(tmp_path: Path) -> None:
    path = write_cells(tmp_path, "1 + 1")
    before = path.read_bytes()
    assert main([str(path), "--check"]) == 0
    assert path.read_bytes() == before
