"""The repository's address: the same everywhere, and changed everywhere by one command."""

import re
import shutil
from pathlib import Path

import pytest

from tests.collection.notebook_hygiene import BADGE
from tests.tools.notebook_tools import PROJECT, notebook_paths, read_notebook
from tests.tools.stamp_repository import addresses, main, stamp, stamped_files, stored_repository


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the files with an address."""
    for path in [*stamped_files(), PROJECT / "pyproject.toml"]:
        target = tmp_path / path.relative_to(PROJECT)
        target.parent.mkdir(exist_ok=True)
        shutil.copy(path, target)
    return tmp_path


def test_all_places_agree() -> None:
    for path in stamped_files():
        # A badge and a setup cell; the README has a link for each notebook, and git clone.
        expected = 1 + len(notebook_paths()) if path.name == "README.md" else 2
        assert addresses(path) == expected * [stored_repository()], path.name


@pytest.mark.parametrize("path", notebook_paths(), ids=lambda path: path.stem)
def test_every_badge_names_an_existing_file(path: Path) -> None:
    repository, file = BADGE.search(read_notebook(path).cells[0].source).groups()
    assert repository == stored_repository()
    assert PROJECT / file == path


def test_a_fork_changes_every_address_and_nothing_else(copy: Path) -> None:
    fork = "Some-One/deep.learning_2"
    before = {
        path: path.read_text(encoding="utf-8") for path in copy.rglob("*.*") if path.is_file()
    }
    assert set(stamp(fork, copy)) == set(before)
    assert stored_repository(copy) == fork
    for path, text in before.items():
        after = path.read_text(encoding="utf-8")
        assert stored_repository() not in after
        assert after.replace(fork, stored_repository()) == text
    assert stamp(stored_repository(), copy) and all(
        path.read_text(encoding="utf-8") == text for path, text in before.items()
    )


def test_stamping_twice_changes_nothing(copy: Path) -> None:
    assert stamp(stored_repository(), copy) == []


@pytest.mark.parametrize(
    "bad", ["", "name", "a/b/c", "https://github.com/a/b", "a b/c", 'a/b"', "-a/b"]
)
def test_what_is_no_address_is_refused_and_changes_nothing(copy: Path, bad: str) -> None:
    before = {path: path.read_bytes() for path in copy.rglob("*.*") if path.is_file()}
    with pytest.raises(ValueError, match=f"expected OWNER/REPO .* found {re.escape(repr(bad))}"):
        stamp(bad, copy)
    assert before == {path: path.read_bytes() for path in before}


def test_the_command_repeats_the_address_and_refuses_a_bad_one(copy: Path, capsys) -> None:
    assert main([], copy) == 0
    assert f"{stored_repository()}: 0 files changed" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["nonsense"], copy)
    assert "expected OWNER/REPO" in capsys.readouterr().err
