"""Run the notebooks as Colab does: each alone in a folder, cloning the project by its setup cell.

``python -m tests.tools.colab [notebooks]`` installs Colab's versions of the packages in `VERSIONS`
into a temporary folder, which the kernels search first, and runs two notebooks at a time. The
repository that is cloned holds this project's files, and a module stands for ``google.colab``. Not
matched: Colab's Python, its system, and its torch, which is
the installed one.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from nbformat.v4 import new_code_cell

from tests.tools.execute_notebooks import CELL_SECONDS, execute_all, run_notebook
from tests.tools.notebook_tools import (
    PROJECT,
    notebook_paths,
    read_notebook,
    stored_repository,
    write_notebook,
)

VERSIONS = {  # of November 2026, with Python 3.13 and torch 2.11
    "numpy": "2.1.3",
    "matplotlib": "3.10.0",
    "scikit-learn": "1.6.1",
    "ipython": "7.34.0",
    "ipywidgets": "7.7.1",
    "ipykernel": "6.17.1",
}
AT_ONCE = 2  # notebooks, each of which takes a core
# What the setup cell clones, and no more: environments and caches are left out.
CLONED = ("helpers", "data", "notebooks", "README.md", "LICENSE")
STAND_IN = """
import sys
from types import ModuleType

sys.modules["google.colab"] = ModuleType("google.colab")
"""
# Colab shows the widgets of these modules without a widget manager of somebody else's.
CORE_WIDGETS = {"@jupyter-widgets/base", "@jupyter-widgets/controls", "@jupyter-widgets/output"}
LAST_CELL = """
from importlib.metadata import version

import helpers
import ipywidgets

found = {{name: version(name) for name in {names!r}}}
assert found == {versions!r}, found
assert helpers.__file__.startswith({clone!r}), helpers.__file__
modules = {{widget._model_module for widget in ipywidgets.Widget.widgets.values()}}
assert modules <= {core!r}, modules
"""


def make_repository(folder: Path) -> None:
    """Make a git repository in `folder` with two commits, of the files that Colab clones."""
    git = ["git", "-C", str(folder), "-c", "user.name=test", "-c", "user.email=test@localhost"]
    folder.mkdir(parents=True)
    subprocess.run([*git, "init", "--quiet", "--initial-branch=main"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "--message=Begin"], check=True)
    tracked = ["--", *CLONED, ":!**/__pycache__/**", ":!**/MNIST/**", ":!**/.*"]
    worktree = [*git, f"--work-tree={PROJECT}"]
    subprocess.run([*worktree, "add", *tracked], check=True)
    subprocess.run([*worktree, "commit", "--quiet", "--message=Add the project"], check=True)


def colab_environment(repository: Path, packages: Path, folder: Path) -> dict[str, str]:
    """Return the environment of a kernel that takes itself for one of Colab's.

    Parameters
    ----------
    repository : Path
        What is cloned instead of the address in the setup cell.
    packages : Path
        Folder that Python searches first.
    folder : Path
        A folder for IPython's settings.
    """
    startup = folder / "profile_default" / "startup"
    startup.mkdir(parents=True, exist_ok=True)
    (startup / "00-colab.py").write_text(STAND_IN, encoding="utf-8")
    # Not the number of threads either: there, the setup cell alone sets it.
    unset = {"DATA_ROOT", "PYTHONPATH", "OMP_NUM_THREADS", "OMP_WAIT_POLICY"}
    return {name: value for name, value in os.environ.items() if name not in unset} | {
        "PYTHONPATH": str(packages),
        "IPYTHONDIR": str(folder),
        "DIGITS_SOURCE": "digits",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # else each old kernel warns about frozen modules
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{repository.as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": f"https://github.com/{stored_repository()}",
    }


def run_as_colab(path: Path, folder: Path, environment: Mapping[str, str]) -> None:
    """Execute a copy of a notebook in a new folder of its own, into which it fetches the project.

    Raises
    ------
    NotebookFailure
        Names the cell, and shows its source and the error.
    """
    notebook, alone = read_notebook(path), folder / path.stem
    alone.mkdir()
    last = LAST_CELL.format(
        names=[*VERSIONS], versions=VERSIONS, clone=str(alone), core=CORE_WIDGETS
    )
    notebook.cells.append(new_code_cell(last, id="versions"))
    write_notebook(notebook, alone / path.name)
    run_notebook(alone / path.name, CELL_SECONDS, environment)


def install(packages: Path) -> None:
    """Install Colab's versions into a folder."""
    wanted = [f"{name}=={version}" for name, version in VERSIONS.items()]
    command = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"]
    subprocess.run([sys.executable, *command, str(packages), *wanted], check=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.tools.colab", description=__doc__)
    parser.add_argument("paths", nargs="*", type=Path, help="notebooks; default: all")
    paths = parser.parse_args(arguments).paths or notebook_paths()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        packages, repository = folder / "packages", folder / "repository"
        install(packages)
        make_repository(repository)
        environment = colab_environment(repository, packages, folder / "ipython")
        execute = partial(run_as_colab, folder=folder, environment=environment)
        return execute_all(execute, paths, AT_ONCE)


if __name__ == "__main__":
    sys.exit(main())
