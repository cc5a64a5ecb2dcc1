"""Loading of the code that a notebook teaches."""

import inspect
from pathlib import Path

import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from tests.collection.trial_notebook import NAME, REPORT, good_notebook, write_notebook
from tests.tools.notebook_tools import (
    load_cells,
    load_implementation,
    notebook_paths,
    read_notebook,
    stored_report,
)


def add_implementation(book: NotebookNode, source: str) -> None:
    book.cells.append(new_code_cell(source, metadata={"tags": ["implementation"]}))


def test_only_imports_and_implementation_are_executed() -> None:
    code = load_cells(good_notebook(), NAME)
    assert code.square(3) == 9
    assert not hasattr(code, "REPOSITORY")


def test_cells_share_one_namespace_in_their_order() -> None:
    book = good_notebook()
    add_implementation(book, "def fourth_power(x):\n    return square(square(x))")
    assert load_cells(book, NAME).fourth_power(2) == 16


def test_two_loads_share_nothing() -> None:
    book = good_notebook()
    add_implementation(book, "seen = []")
    load_cells(book, NAME).seen.append(1)
    assert load_cells(book, NAME).seen == []


def test_helpers_can_be_imported_and_dataclasses_defined() -> None:
    book = good_notebook()
    add_implementation(
        book,
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "from helpers.reporting import Claim\n\n@dataclass\nclass Pair:\n    first: int = 1",
    )
    assert load_cells(book, NAME).Pair().first == 1


def test_source_can_be_inspected() -> None:
    square = load_cells(good_notebook(), NAME).square
    assert inspect.getsource(square).startswith("def square(x):")


def test_a_notebook_without_implementation_is_an_error() -> None:
    book = good_notebook()
    book.cells = [c for c in book.cells if "implementation" not in c.metadata.get("tags", [])]
    with pytest.raises(ValueError, match=r"01_trial has no cell with the tag 'implementation'"):
        load_cells(book, NAME)


def test_an_unknown_notebook_is_an_error_that_names_the_known() -> None:
    with pytest.raises(FileNotFoundError, match=r"no notebook .*00_none.*notebooks are"):
        load_implementation("00_none")


def test_stored_report(tmp_path: Path) -> None:
    book = read_notebook(write_notebook(good_notebook(), tmp_path))
    assert stored_report(book) == REPORT
    book.cells[7].outputs.clear()
    assert stored_report(book) is None


@pytest.mark.parametrize("path", notebook_paths(), ids=lambda path: path.stem)
def test_each_notebook_teaches_code_that_loads(path: Path) -> None:
    public = [name for name in vars(load_implementation(path.stem)) if not name.startswith("_")]
    assert public
