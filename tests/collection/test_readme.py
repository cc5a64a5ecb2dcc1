"""The README agrees with the notebooks and with what CI runs."""

from pathlib import Path

import pytest

from tests.collection.notebook_hygiene import MINUTES, link_faults
from tests.tools.notebook_tools import PROJECT, notebook_paths, read_notebook
from tests.tools.results_table import (
    README,
    START,
    replace_section,
    results_section,
    stored_reports,
)

TEXT = README.read_text(encoding="utf-8")


def test_results_are_those_that_the_notebooks_store() -> None:
    assert replace_section(TEXT, results_section(stored_reports())) == TEXT, (
        "README.md differs from the notebooks' results; run `python -m tests.tools.results_table`"
    )


@pytest.mark.parametrize("path", notebook_paths(), ids=lambda path: path.stem)
def test_each_notebook_is_listed_with_its_minutes(path: Path) -> None:
    minutes = MINUTES.search(read_notebook(path).cells[0].source)
    assert minutes
    rows = TEXT.partition(START)[0].splitlines()
    (row,) = [line for line in rows if f"](notebooks/{path.name}) |" in line]
    assert row.endswith(f"| {minutes[1]} |"), f"{path.name} says {minutes[0]!r}"


def test_links_resolve() -> None:
    assert link_faults(TEXT, README) == []


def test_it_is_short() -> None:
    assert len(TEXT.splitlines()) < 150


def test_ci_takes_its_test_command_from_between_the_markers() -> None:
    command = TEXT.partition("<!-- test-command:start -->")[2]
    command = command.partition("<!-- test-command:end -->")[0].strip().splitlines()
    assert command[0] == "```bash" and command[-1] == "```"
    assert len(command) == 3 and command[1].endswith("python -m pytest")
    ci = (PROJECT / ".ci" / "run").read_text(encoding="utf-8")
    assert "test-command:start" in ci and "test-command:end" in ci
