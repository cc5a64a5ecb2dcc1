"""A read-only checkout, a path with other letters, a restarted kernel: what a user sees then.

What needs other rights or another checkout runs in a process of its own.
"""

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from jupyter_client import KernelManager
from nbformat.v4 import new_code_cell, new_notebook

from helpers import mnist
from tests.collection.notebook_hygiene import setup_source
from tests.collection.trial_notebook import write_notebook
from tests.helpers.small_mnist import mirror_of, write_small_mnist
from tests.tools.execute_notebooks import NativeKernelManager
from tests.tools.notebook_tools import PROJECT, StoredNotebook, notebook_paths, read_notebook

SETUP = setup_source(StoredNotebook(notebook_paths()[0]))
LOAD = """
import sys
from pathlib import Path
from helpers import mnist
from tests.helpers.small_mnist import take_for_mnist
take_for_mnist(Path(sys.argv[1]), setattr)
mnist.MIRRORS = sys.argv[2:]
print(mnist.load_mnist().description)
"""
EXECUTE = "import sys; from tests.tools.execute_notebooks import main; sys.exit(main(sys.argv[1:]))"


def copy_project(target: Path) -> Path:
    """Copy what a user works with, and a notebook; return the notebook's path."""
    ignored = shutil.ignore_patterns("__pycache__", "MNIST", ".*", "*.ipynb", "test_*")
    for name in ("helpers", "data", "tests", "notebooks"):
        shutil.copytree(PROJECT / name, target / name, ignore=ignored)
    shutil.copy(PROJECT / "pyproject.toml", target)
    cells = [new_code_cell(SETUP), new_code_cell("import helpers\nprint(helpers.__file__)")]
    return write_notebook(new_notebook(cells=cells), target / "notebooks")


def python(
    project: Path, code: str, *arguments: object, before: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run code in a new process, with a checkout's modules and without DATA_ROOT."""
    unset = {"DATA_ROOT", "DIGITS_SOURCE"}
    kept = {name: value for name, value in os.environ.items() if name not in unset}
    added = {"PYTHONUTF8": "1", "PYTHONDONTWRITEBYTECODE": "1", "NO_PROXY": "127.0.0.1"}
    return subprocess.run(
        [*before, sys.executable, "-c", code, *map(str, arguments)],
        env=kept | added | {"PYTHONPATH": str(project)},
        cwd=project,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A root with a small set in MNIST's format, and the address that it is served at."""
    write_small_mnist(tmp_path / "mirror")
    with mirror_of(tmp_path / "mirror") as address:
        yield tmp_path / "mirror", address


def without_override() -> tuple[str, ...]:
    """Return the start of a command for which read-only files are read-only, even for root."""
    if not hasattr(os, "geteuid"):
        pytest.skip("a folder cannot be made read-only by its mode on this system")
    if os.geteuid() != 0:
        return ()
    if not shutil.which("setpriv"):
        pytest.skip("root needs setpriv to be refused by a read-only folder")
    return ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--")


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A checkout whose files and folders are read-only."""
    copy_project(tmp_path / "checkout")
    paths = [tmp_path / "checkout", *(tmp_path / "checkout").rglob("*")]
    for path in paths:
        path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    yield tmp_path / "checkout"
    for path in paths:
        path.chmod(path.stat().st_mode | stat.S_IWUSR)


def test_in_a_read_only_checkout_the_digits_come_with_the_reason(
    read_only: Path, mirror: tuple[Path, str]
) -> None:
    result = python(read_only, LOAD, *mirror, before=without_override())
    assert "Permission denied" in result.stdout and mnist.HOW_TO_GET_MNIST in result.stdout
    assert "Digits in use: bundled digits" in result.stdout


def test_a_path_with_spaces_and_other_letters_changes_nothing(
    tmp_path: Path, mirror: tuple[Path, str]
) -> None:
    checkout = tmp_path / "Größe und Übung" / "深層 学習"
    notebook = copy_project(checkout)
    result = python(checkout, LOAD, *mirror)
    assert result.stdout.startswith("Digits in use: MNIST, 40 training"), result.stderr
    assert (checkout / "data" / mnist.FOLDER).is_dir()
    result = python(checkout, EXECUTE, notebook)
    assert (result.returncode, result.stderr) == (0, "")
    assert str(checkout / "helpers") in read_notebook(notebook).cells[-1].outputs[0].text


def test_after_a_restart_the_setup_cell_is_what_is_missing() -> None:
    manager = KernelManager(kernel_spec_manager=NativeKernelManager().kernel_spec_manager)
    manager.start_kernel(cwd=PROJECT / "notebooks", extra_arguments=["--log-level=ERROR"])
    try:
        assert run_in(manager, f"{SETUP}\nimport helpers") == []
        manager.restart_kernel(now=True)
        assert run_in(manager, "import helpers") == ["No module named 'helpers'"]
        assert "again after a restart of the kernel" in SETUP
        assert run_in(manager, f"{SETUP}\nimport helpers") == []
    finally:
        manager.shutdown_kernel(now=True)


def run_in(manager: KernelManager, code: str) -> list[str]:
    """Run code in a kernel; return the error if there is one."""
    client = manager.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        reply = client.execute_interactive(code, timeout=60)["content"]
        return [reply["evalue"]] if reply["status"] == "error" else []
    finally:
        client.stop_channels()
