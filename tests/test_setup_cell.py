"""The setup cell finds the project outside Colab, and says what to do when it can't."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.notebook_tools import NOTEBOOKS, PROJECT, cell_tags, notebook_paths, read_notebook


@pytest.fixture(scope="module")
def setup() -> str:
    """The source of the setup cell."""
    cells = read_notebook(notebook_paths()[0]).cells
    return next(cell.source for cell in cells if "setup" in cell_tags(cell))


def run(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter, which does not find the project by itself."""
    command = [sys.executable, "-I", "-c", code]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("folder", [NOTEBOOKS, PROJECT, PROJECT / "tests"])
def test_twice_puts_the_project_on_the_path_once(setup: str, folder: Path) -> None:
    code = f"{setup}\n{setup}\nimport helpers.reporting\nprint(*sys.path, sep='\\n')"
    result = run(code, folder)
    assert result.stderr == ""
    assert result.stdout.splitlines().count(str(PROJECT)) == 1


def test_outside_the_project_the_message_says_what_to_do(setup: str, tmp_path: Path) -> None:
    result = run(setup, tmp_path)
    assert result.returncode == 1
    assert f"Expected helpers/ in or above {tmp_path.resolve()}, found none" in (result.stderr)
    assert "Start Jupyter in the whole project" in result.stderr
