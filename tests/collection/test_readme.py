"""The README and the workflow agree with the notebooks and with what CI runs."""

import re
from pathlib import Path

import pytest

from tests.collection.notebook_hygiene import BADGE, MINUTES, link_faults
from tests.tools.gallery import FOLDER, PICTURES, Picture, stored_picture
from tests.tools.notebook_tools import (
    PROJECT,
    badge_line,
    notebook_paths,
    read_notebook,
    stored_repository,
)
from tests.tools.results_table import README, START, results_section, verdicts_text

TEXT = README.read_text(encoding="utf-8")
CI = (PROJECT / ".ci" / "run").read_text(encoding="utf-8")
WORKFLOWS = [p.read_text("utf-8") for p in (PROJECT / ".github" / "workflows").glob("*.yml")]
PINNED = re.compile(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")


def test_results_are_those_that_the_notebooks_store() -> None:
    assert results_section() in TEXT, "run `python -m tests.tools.results_table`"


def test_each_verdict_that_occurs_is_counted() -> None:
    text = verdicts_text(["wrong", "right, for another reason", "wrong"])
    assert text.endswith("find 1 *right, for another reason*; 2 *wrong*.") and "Of 3 claims" in text


@pytest.mark.parametrize("path", notebook_paths(), ids=lambda path: path.stem)
def test_each_notebook_is_listed_with_its_minutes(path: Path) -> None:
    minutes = MINUTES.search(read_notebook(path).cells[0].source)
    assert minutes
    rows = TEXT.partition(START)[0].splitlines()
    (row,) = [line for line in rows if f"](notebooks/{path.name}) |" in line]
    assert row.endswith(f"| {minutes[1]} |"), f"{path.name} says {minutes[0]!r}"


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.file)
def test_a_picture_of_the_gallery_is_the_stored_figure(picture: Picture) -> None:
    same = picture.path.read_bytes() == stored_picture(picture)
    assert same, "the notebook's figure has changed; run `python -m tests.tools.gallery`"


def test_the_gallery_is_shown_with_alt_texts() -> None:
    shown = re.findall(r"!\[([^\]]+)\]\(([^)]+)\)", TEXT)
    assert [PROJECT / path for _, path in shown] == [picture.path for picture in PICTURES]
    assert all(len(alt.split()) > 5 for alt, _ in shown)
    assert set(FOLDER.iterdir()) == {picture.path for picture in PICTURES}


def test_the_addresses_are_the_one_in_pyproject() -> None:
    opened = [address for p in notebook_paths() for address in BADGE.findall(badge_line(p.name))]
    assert BADGE.findall(TEXT) == opened
    cloned = re.findall(r"git clone https://github\.com/([\w./-]+)", TEXT)
    assert cloned == [stored_repository()]
    assert f"s#{stored_repository()}#OWNER/REPO#g" in TEXT  # the command for a fork


def test_links_resolve_and_it_is_short() -> None:
    assert link_faults(TEXT, README) == []
    assert len(TEXT.splitlines()) < 150


def test_ci_takes_its_test_command_from_between_the_markers() -> None:
    command = TEXT.partition("<!-- test-command:start -->")[2]
    command = command.partition("<!-- test-command:end -->")[0].strip().splitlines()
    assert command[0] == "```bash" and command[-1] == "```"
    assert len(command) == 3 and command[1].endswith("python -m pytest")


def test_commands_that_are_named_exist() -> None:
    named = re.findall(r"-m (tests[\w.]+)", "\n".join((TEXT, CI, *WORKFLOWS)))
    files = [(PROJECT / name.replace(".", "/")).with_suffix(".py") for name in named]
    assert files and [file for file in files if not file.is_file()] == []


def test_actions_of_the_workflow_are_pinned_by_hash() -> None:
    used = [action for text in WORKFLOWS for action in re.findall(r"uses: *(.*)", text)]
    assert used
    assert [action for action in used if not PINNED.fullmatch(action)] == []
