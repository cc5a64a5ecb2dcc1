"""The setup cell finds the project, in Colab clones it, and says what to do when it can't."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.collection.notebook_hygiene import setup_source
from tests.tools.colab import STAND_IN, colab_environment, make_repository
from tests.tools.notebook_tools import NOTEBOOKS, PROJECT, StoredNotebook, notebook_paths

SETUP = setup_source(StoredNotebook(notebook_paths()[0]))
IMPORTED = re.compile(r"^\s*(?:import|from(?=\s[\w.]+ import\b)) (\w+)", re.MULTILINE)
NEVER_INSTALLED = {"torch", "torchvision", "numpy", "matplotlib", "IPython"}
# Come with matplotlib and with scikit-learn.
WITH_OTHERS = {"cycler", "PIL"} | {"joblib", "scipy", "threadpoolctl"}
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
TWICE = """
before = {{p: p.stat().st_mtime_ns for p in here.rglob("*")}}, sys.path.copy()
{setup}
assert before == ({{p: p.stat().st_mtime_ns for p in here.rglob("*")}}, sys.path)
assert sys.path.count(str(here)) == 1
print(helpers.__file__)
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("origin") / "repository"
    make_repository(folder)
    return folder


def run(code: str, folder: Path, environment=None) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter, which does not find the project by itself."""
    command = [sys.executable, "-I", "-B", "-c", code]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def run_in_colab(
    repository: Path, folder: Path, before: str = "", after: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run the setup cell as in Colab, with `folder` for /content, and other code around it."""
    environment = colab_environment(repository, folder, folder / "ipython")
    here = SETUP.replace('Path("/content")', f"Path({str(folder)!r})")
    code = f"{STAND_IN}\n{before}\n{here}\n{after.format(setup=here)}"
    return run(code, folder, environment)


@pytest.mark.parametrize("folder", [NOTEBOOKS, PROJECT])
def test_elsewhere_the_project_is_on_the_path_and_nothing_is_run(folder: Path) -> None:
    refuse = 'import subprocess\nsubprocess.run = lambda *a, **k: print("something was run")'
    result = run(f"{refuse}\n{SETUP}\n{SETUP}\nprint(*sys.path, sep='\\n')", folder)
    assert result.stderr == "" and "something was run" not in result.stdout
    assert result.stdout.splitlines().count(str(PROJECT)) == 1


def test_outside_the_project_the_message_says_what_to_do(tmp_path: Path) -> None:
    result = run(SETUP, tmp_path)
    assert result.returncode == 1
    assert f"Expected helpers/ in or above {tmp_path.resolve()}, found none" in result.stderr
    assert "Start Jupyter in the whole project" in result.stderr


def test_in_colab_the_project_is_cloned_once_and_shallowly(
    repository: Path, tmp_path: Path
) -> None:
    result = run_in_colab(repository, tmp_path, after=TWICE)
    clone = tmp_path / "deep-learning-basics"
    assert (result.stderr, result.stdout.strip()) == ("", str(clone / "helpers" / "__init__.py"))
    log = subprocess.check_output(["git", "-C", clone, "log", "--oneline"], text=True)
    assert len(log.splitlines()) == 1  # the repository has two commits
    assert (clone / "data" / "random" / "random_imgs.npy").is_file()


def test_in_colab_a_failed_clone_is_an_error_and_can_be_repeated(
    repository: Path, tmp_path: Path
) -> None:
    failed = run_in_colab(repository.with_name("nowhere"), tmp_path)
    assert failed.returncode == 1 and "git" in failed.stderr
    assert not (tmp_path / "deep-learning-basics").exists()
    assert run_in_colab(repository, tmp_path).stderr == ""


@pytest.mark.parametrize("hidden", [[], ["ipywidgets", "scikit-learn", "torch", "numpy"]])
def test_in_colab_only_what_is_missing_is_installed(
    repository: Path, tmp_path: Path, hidden: list[str]
) -> None:
    result = run_in_colab(repository, tmp_path, WITHOUT_PACKAGES.format(hidden=hidden))
    assert result.stderr == ""
    expected = [f"install --quiet {name}" for name in hidden if name not in NEVER_INSTALLED]
    assert sorted(result.stdout.splitlines()) == sorted(expected)


def test_what_notebooks_and_helpers_import_is_there_or_installed_and_no_more() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (PROJECT / "helpers").glob("*.py")]
    for path in notebook_paths():
        sources += [cell.source for _, cell in StoredNotebook(path).cells("code")]
    imported = {name for source in sources for name in IMPORTED.findall(source)}
    needed = imported - NEVER_INSTALLED - WITH_OTHERS - {*sys.stdlib_module_names, "helpers"}
    (installed,) = [node for node in ast.walk(ast.parse(SETUP)) if isinstance(node, ast.Set)]
    assert ast.literal_eval(installed) == {PACKAGES.get(name, name) for name in needed}
