"""The setup cell finds the project or fetches it, and says what to do when it can't."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import LARGE_PACKAGES, PACKAGES
from tests.collection.notebook_hygiene import setup_source
from tests.tools.colab import STAND_IN, colab_environment, make_repository
from tests.tools.notebook_tools import NOTEBOOKS, PROJECT, StoredNotebook, notebook_paths

SETUP = setup_source(StoredNotebook(notebook_paths()[0]))
IMPORTED = re.compile(r"^\s*(?:import|from(?=\s[\w.]+ import\b)) (\w+)", re.MULTILINE)
# Come with Jupyter, with matplotlib and with scikit-learn.
WITH_OTHERS = {"IPython"} | {"cycler", "PIL"} | {"joblib", "scipy", "threadpoolctl"}
# Hides packages from the setup cell, and prints pip's commands instead of running them.
WITHOUT_PACKAGES = """
import importlib.util
import subprocess

hidden, find, run = {hidden!r}, importlib.util.find_spec, subprocess.run
importlib.util.find_spec = lambda name: None if name in hidden else find(name)


def run_or_print(command, **options):
    if "pip" in command:
        hidden.clear()
        return print(*command[3:])
    return run(command, **options)


subprocess.run = run_or_print
"""
TWICE = """
before = {{p: p.stat().st_mtime_ns for p in here.rglob("*")}}, sys.path.copy()
{setup}
assert before == ({{p: p.stat().st_mtime_ns for p in here.rglob("*")}}, sys.path)
assert sys.path[0] == str(project) and sys.path.count(str(project)) == 1
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


def run_alone(
    repository: Path, folder: Path, before: str = "", after: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run the setup cell in `folder`, as in Colab, with other code around it."""
    environment = colab_environment(repository, folder, folder / "ipython")
    return run(f"{STAND_IN}\n{before}\n{SETUP}\n{after.format(setup=SETUP)}", folder, environment)


@pytest.mark.parametrize("folder", [NOTEBOOKS, PROJECT])
def test_in_the_project_its_folder_comes_first_on_the_path_and_nothing_is_run(folder: Path) -> None:
    refuse = 'import subprocess\nsubprocess.run = lambda *a, **k: print("something was run")'
    end = "import sys\nsys.path.append(sys.path.pop(0))"  # first it must be, not only there
    result = run(f"{refuse}\n{SETUP}\n{end}\n{SETUP}\nprint(*sys.path, sep='\\n')", folder)
    assert result.stderr == "" and "something was run" not in result.stdout
    path = result.stdout.splitlines()
    assert path[0] == str(PROJECT) and path.count(str(PROJECT)) == 1


def test_vs_codes_kernel_may_start_elsewhere(tmp_path: Path) -> None:
    named = f"__vsc_ipynb_file__ = {str(NOTEBOOKS / '01_any.ipynb')!r}"
    result = run(f"{named}\n{SETUP}\nprint(helpers.__file__)", tmp_path)
    assert (result.stderr, Path(result.stdout.strip()).parent) == ("", PROJECT / "helpers")
    assert list(tmp_path.iterdir()) == []


def test_a_notebook_that_lies_alone_fetches_the_project_once_and_says_so(
    repository: Path, tmp_path: Path
) -> None:
    result = run_alone(repository, tmp_path, after=TWICE)
    clone = tmp_path / "deep-learning-basics"
    said, helpers = result.stdout.splitlines()
    assert (result.stderr, helpers) == ("", str(clone / "helpers" / "__init__.py"))
    assert said.startswith(f"Fetched {clone}: its helpers/ and data/ are used")
    log = subprocess.check_output(["git", "-C", clone, "log", "--oneline"], text=True)
    assert len(log.splitlines()) == 1  # the repository has two commits
    assert (clone / "data" / "random" / "random_imgs.npy").is_file()


@pytest.mark.parametrize("fault", ["no network", "no git", "half a clone"])
def test_what_keeps_it_from_being_fetched_is_said_with_the_remedy(
    repository: Path, tmp_path: Path, fault: str
) -> None:
    clone, before = tmp_path / "deep-learning-basics", ""
    if fault == "no git":
        before = 'import os\nos.environ["PATH"] = "/nowhere"'
    if fault == "half a clone":
        (clone / ".git").mkdir(parents=True)
    origin = repository.with_name("nowhere") if fault == "no network" else repository
    result = run_alone(origin, tmp_path, before)
    what = {"no network": "does not", "no git": "git", "half a clone": "already exists"}[fault]
    said = f"No project in or above {tmp_path}; fetching failed: "
    assert result.returncode == 1 and what in result.stderr.partition(said)[2]
    assert f"Go online, install git, remove {clone} if it exists; or download" in result.stderr
    assert clone.exists() == (fault == "half a clone")
    if not clone.exists():
        assert run_alone(repository, tmp_path).stderr == ""


def test_another_module_of_that_name_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "helpers.py").write_text("")
    other = f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\nimport helpers"
    result = run(f"{other}\n{SETUP}", NOTEBOOKS)
    assert re.search(r"ImportError: Restart the kernel: .*helpers.py'> is another", result.stderr)


@pytest.mark.parametrize("hidden", [[], ["ipywidgets", "sklearn"]])
def test_in_colab_only_what_is_missing_is_installed(
    repository: Path, tmp_path: Path, hidden: list[str]
) -> None:
    result = run_alone(repository, tmp_path, WITHOUT_PACKAGES.format(hidden=hidden))
    assert result.stderr == ""
    expected = ["install --quiet scikit-learn ipywidgets"] if hidden else []
    assert result.stdout.splitlines()[1:] == expected


def test_the_wrong_kernel_is_named_with_the_command_that_mends_it() -> None:
    result = run(WITHOUT_PACKAGES.format(hidden=["torch", "tqdm"]) + SETUP, NOTEBOOKS)
    assert result.returncode == 1 and result.stdout == ""  # nothing is installed
    assert f"This kernel's Python, {sys.executable}, has no tqdm, torch." in result.stderr
    requirements = PROJECT / "requirements.txt"
    assert f'"{sys.executable}" -m pip install -r "{requirements}"' in result.stderr


def test_what_notebooks_and_helpers_import_is_looked_for_and_no_more() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (PROJECT / "helpers").glob("*.py")]
    for path in notebook_paths():
        sources += [cell.source for _, cell in StoredNotebook(path).cells("code")]
    imported = {name for source in sources for name in IMPORTED.findall(source)}
    needed = imported - {*LARGE_PACKAGES} - WITH_OTHERS - {*sys.stdlib_module_names, "helpers"}
    assert needed == {*PACKAGES} and imported >= {*LARGE_PACKAGES}
