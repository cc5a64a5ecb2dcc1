"""The setup cell finds the project, in Colab clones it, and says what to do when it can't."""

import ast
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.tools.colab import STAND_IN, colab_environment, make_repository
from tests.tools.notebook_tools import NOTEBOOKS, PROJECT, cell_tags, notebook_paths, read_notebook

NEVER_INSTALLED = {"torch", "torchvision", "numpy", "matplotlib", "IPython"}
WITH_OTHERS = {"cycler"}  # comes with matplotlib
PACKAGES = {"sklearn": "scikit-learn"}  # where pip's name is not the module's
# Hides packages from the setup cell, and prints pip's commands instead of running them.
WITHOUT_PACKAGES = """
import importlib.metadata
import subprocess
import sys

present, run = importlib.metadata.distributions, subprocess.run
importlib.metadata.distributions = lambda: [d for d in present() if d.name not in {hidden!r}]


def run_or_print(command, **options):
    if command[:3] == [sys.executable, "-m", "pip"]:
        return print(*command[3:])
    return run(command, **options)


subprocess.run = run_or_print
"""


@pytest.fixture(scope="module")
def setup() -> str:
    """The source of the setup cell."""
    cells = read_notebook(notebook_paths()[0]).cells
    return next(cell.source for cell in cells if "setup" in cell_tags(cell))


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("origin") / "repository"
    make_repository(folder)
    return folder


def run(
    code: str, folder: Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter, which does not find the project by itself."""
    command = [sys.executable, "-I", "-c", code]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def run_in_colab(
    code: str, setup: str, repository: Path, folder: Path, before: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run the setup cell as in Colab, with `folder` for /content, and other code after it."""
    (folder / "ipython").mkdir(exist_ok=True)
    environment = colab_environment(repository, folder, folder / "ipython")
    here = setup.replace('Path("/content")', f"Path({str(folder)!r})")
    return run(f"{STAND_IN}\n{before}\n{here}\n{code.format(setup=here)}", folder, environment)


@pytest.mark.parametrize("folder", [NOTEBOOKS, PROJECT, PROJECT / "tests"])
def test_twice_puts_the_project_on_the_path_once(setup: str, folder: Path) -> None:
    code = f"{setup}\n{setup}\nimport helpers.reporting\nprint(*sys.path, sep='\\n')"
    result = run(code, folder)
    assert result.stderr == ""
    assert result.stdout.splitlines().count(str(PROJECT)) == 1


def test_outside_the_project_the_message_says_what_to_do(setup: str, tmp_path: Path) -> None:
    result = run(setup, tmp_path)
    assert result.returncode == 1
    assert f"Expected helpers/ in or above {tmp_path.resolve()}, found none" in result.stderr
    assert "Start Jupyter in the whole project" in result.stderr


def test_outside_colab_nothing_is_cloned_or_installed(setup: str) -> None:
    refuse = 'import subprocess\nsubprocess.run = lambda *a, **k: print("something was run")'
    result = run(f"{refuse}\n{setup}", NOTEBOOKS)
    assert (result.stdout, result.stderr) == ("", "")


def test_in_colab_the_project_is_cloned_shallowly(
    setup: str, repository: Path, tmp_path: Path
) -> None:
    result = run_in_colab("import helpers; print(helpers.__file__)", setup, repository, tmp_path)
    clone = tmp_path / "deep-learning-basics"
    assert result.stderr == ""
    assert result.stdout.strip() == str(clone / "helpers" / "__init__.py")
    log = subprocess.run(["git", "-C", clone, "log", "--oneline"], capture_output=True, text=True)
    assert len(log.stdout.splitlines()) == 1  # the repository has two commits
    assert (clone / "data" / "random" / "random_imgs.npy").is_file()


def test_in_colab_a_second_run_changes_nothing(
    setup: str, repository: Path, tmp_path: Path
) -> None:
    twice = """
before = {{p: p.stat().st_mtime_ns for p in here.rglob("*")}}, sys.path.copy()
{setup}
assert before == ({{p: p.stat().st_mtime_ns for p in here.rglob("*")}}, sys.path)
assert sys.path.count(str(here)) == 1
"""
    result = run_in_colab(twice, setup, repository, tmp_path)
    assert (result.returncode, result.stderr, result.stdout) == (0, "", "")


def test_in_colab_a_failed_clone_is_an_error_and_can_be_repeated(
    setup: str, repository: Path, tmp_path: Path
) -> None:
    failed = run_in_colab("", setup, repository.with_name("nowhere"), tmp_path)
    assert failed.returncode == 1 and "git" in failed.stderr
    assert not (tmp_path / "deep-learning-basics").exists()
    assert run_in_colab("", setup, repository, tmp_path).stderr == ""


@pytest.mark.parametrize("hidden", [[], ["tqdm"], ["ipywidgets", "scikit-learn", "torch", "numpy"]])
def test_in_colab_only_what_is_missing_is_installed(
    setup: str, repository: Path, tmp_path: Path, hidden: list[str]
) -> None:
    before = WITHOUT_PACKAGES.format(hidden=hidden)
    result = run_in_colab("", setup, repository, tmp_path, before)
    assert result.stderr == ""
    expected = [f"install --quiet {name}" for name in hidden if name not in NEVER_INSTALLED]
    assert sorted(result.stdout.splitlines()) == sorted(expected)


def test_what_notebooks_and_helpers_import_is_there_or_installed(setup: str) -> None:
    sources = [path.read_text(encoding="utf-8") for path in (PROJECT / "helpers").glob("*.py")]
    sources += [
        cell.source
        for path in notebook_paths()
        for cell in read_notebook(path).cells
        if cell.cell_type == "code"
    ]
    imported = set()
    for node in (node for source in sources for node in ast.walk(ast.parse(source))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module.partition(".")[0])
    imported -= {*sys.stdlib_module_names, "helpers"}
    strings = {n.value for n in ast.walk(ast.parse(setup)) if isinstance(n, ast.Constant)}
    assert NEVER_INSTALLED.isdisjoint(strings)
    assert {
        PACKAGES.get(name, name) for name in imported - NEVER_INSTALLED - WITH_OTHERS
    } <= strings
