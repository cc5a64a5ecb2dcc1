"""Every stored notebook is fit to be read as it is, and the checks see what is not."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from nbconvert import ScriptExporter
from nbformat import NotebookNode
from nbformat.v4 import new_output

from helpers.mnist import load_mnist
from tests.collection.notebook_hygiene import StoredNotebook, hygiene_faults, setup_source
from tests.tools.notebook_tools import cell_tags, notebook_paths, read_notebook, stored_repository

FIRST = notebook_paths()[0]
WIDGET = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/plain": "Slider"}
each_notebook = pytest.mark.parametrize("path", notebook_paths(), ids=lambda path: path.stem)


@each_notebook
def test_notebook_has_no_faults(path: Path) -> None:
    assert hygiene_faults(StoredNotebook(path)) == []


@each_notebook
def test_setup_cells_are_identical(path: Path) -> None:
    assert setup_source(StoredNotebook(path)) == setup_source(StoredNotebook(FIRST))


@each_notebook
def test_nbconvert_makes_a_python_script(path: Path) -> None:
    script, resources = ScriptExporter().from_notebook_node(read_notebook(path))
    assert resources["output_extension"] == ".py"
    compile(script, path.stem, "exec")


def tagged(book: NotebookNode, tag: str) -> NotebookNode:
    """Return the first code cell with a tag."""
    return next(c for c in book.cells if c.cell_type == "code" and tag in cell_tags(c))


def add(text: str, tag: str = "imports") -> Callable[[NotebookNode], object]:
    """Return a damage: text at the end of the first cell with a tag, or of the title."""

    def damage(book: NotebookNode) -> None:
        cell = book.cells[0] if tag == "title" else tagged(book, tag)
        cell.source += text

    return damage


def store(kind: str, **fields: object) -> Callable[[NotebookNode], object]:
    """Return a damage: one more output of the imports."""
    return lambda book: tagged(book, "imports").outputs.append(new_output(kind, **fields))


def replace(old: str, new: str) -> Callable[[NotebookNode], object]:
    """Return a damage: another text, wherever it stands in the sources."""

    def damage(book: NotebookNode) -> None:
        assert any(old in cell.source for cell in book.cells), f"no cell has {old!r}"
        for cell in book.cells:
            cell.source = cell.source.replace(old, new)

    return damage


def without_figures_and_assertions(book: NotebookNode) -> None:
    for cell in book.cells:
        if cell.cell_type == "code":
            cell.outputs = []
            cell.source = re.sub(r"\bassert(_\w+)?", "print or", cell.source)


DAMAGES = [
    (lambda book: tagged(book, "check").update(execution_count=999), "not from top to bottom"),
    (store("error", ename="E", evalue="", traceback=["E"]), "stores an error"),
    (store("stream", name="stderr", text="warning"), "stores output to stderr"),
    (store("display_data", data=WIDGET), "stores a widget"),
    (store("stream", text="10 [00:01, 7.1it/s]"), "stores a progress bar"),
    (store("stream", text=load_mnist("digits").description), "with the bundled digits, not with"),
    (store("stream", text="in /home/me/x"), "a path of one machine: /home/"),
    (add(r' # "C:\\Users\\me"'), r"a path of one machine: C:\\Users"),
    (lambda book: book.metadata.language_info.pop("file_extension", 0), "its metadata are not"),
    (add(20 * "\n1 + 1"), "lines, more than 20"),
    (lambda book: tagged(book, "imports").metadata.tags.append("seutp"), "the unknown tag 'seutp'"),
    (add("\ntorch.set_num_threads(2)"), "has set_num_threads: helpers/__init__.py alone"),
    (replace("# ", ""), "starts with a '# ' heading"),
    (replace("CPU minute", "minute"), "does not state 'about N CPU minutes'"),
    (replace("colab.research", "colab"), "the Colab badge opens []"),
    (replace(f"main/notebooks/{FIRST.name}", "main/notebooks/02.ipynb"), "the Colab badge opens"),
    (replace(f"github/{stored_repository()}", "github/some/body"), "the Colab badge opens"),
    (replace(f"com/{stored_repository()}", "com/some/body"), "the setup cell clones"),
    (lambda book: tagged(book, "imports").metadata.tags.append("setup"), "is not the one cell"),
    (add("\nimport torch", "setup"), "the setup cell does not end with the line import helpers"),
    (without_figures_and_assertions, "has neither a figure nor an assertion"),
    (without_figures_and_assertions, "no cell stores the JSON"),
    (lambda book: book.cells.pop(), "the last two sections are"),
    (add("[x](none.ipynb)", "title"), "the link none.ipynb names no existing file"),
    (add("[x](#None)", "title"), "the link #None names no existing heading"),
    (add("![ ](../README.md)", "title"), "an image without alt text"),
    (replace("**Exercise 1", "**Exercise 2"), "the exercises are numbered [2, 2"),
    (lambda book: book.cells.remove(tagged(book, "check")), "must follow each other"),
    (lambda book: tagged(book, "solution").update(source="x = 1"), "that defines no function"),
]


@pytest.mark.parametrize(("damage", "fault"), DAMAGES, ids=[fault for _, fault in DAMAGES])
def test_a_damage_is_seen(damage: Callable[[NotebookNode], object], fault: str) -> None:
    book = StoredNotebook(FIRST)
    damage(book.node)
    seen = set(hygiene_faults(book)) - set(hygiene_faults(StoredNotebook(FIRST)))
    assert any(fault in text for text in seen), seen
