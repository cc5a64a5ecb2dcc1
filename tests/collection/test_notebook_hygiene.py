"""Every stored notebook is fit to be read as it is, and the checks see what is not."""

import html
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from nbconvert import HTMLExporter, ScriptExporter
from nbformat import NotebookNode
from nbformat.v4 import new_output

from helpers.mnist import load_mnist
from tests.collection.notebook_hygiene import hygiene_faults, setup_source
from tests.collection.trial_notebook import lesson, write_notebook
from tests.tools.notebook_tools import (
    StoredNotebook,
    cell_tags,
    notebook_paths,
    read_notebook,
    stored_metadata,
    stored_report,
    stored_repository,
)

FIRST = notebook_paths()[0]
Damage = Callable[[NotebookNode], object]
COLLAPSED = {"jupyter": {"source_hidden": True}, "tags": ["check"]}
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


@each_notebook
def test_alt_texts_reach_the_page_that_nbconvert_makes(path: Path) -> None:
    """The template must be `classic`, as README says: the default one reads no alt texts."""
    page, _ = HTMLExporter(template_name="classic").from_notebook_node(read_notebook(path))
    pictures = re.findall(r'<img alt="([^"]*)"\s+src="data:image/png', page.replace("\n", " "))
    stored = [
        output.metadata["image/png"]["alt"]
        for cell in read_notebook(path).cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert [html.unescape(text) for text in pictures] == stored and stored


def tagged(book: NotebookNode, tag: str) -> NotebookNode:
    """Return the first code cell with a tag."""
    return next(c for c in book.cells if c.cell_type == "code" and tag in cell_tags(c))


def saying(book: NotebookNode, text: str) -> NotebookNode:
    """Return the first cell whose source has a text."""
    return next(cell for cell in book.cells if text in cell.source)


def add(text: str, tag: str = "implementation") -> Damage:
    """Return a damage: text at the end of the first cell with a tag, or of the title."""

    def damage(book: NotebookNode) -> None:
        cell = book.cells[0] if tag == "title" else tagged(book, tag)
        cell.source += text

    return damage


def store(kind: str, **fields: object) -> Damage:
    """Return a damage: one more output of the imports."""
    return lambda book: tagged(book, "imports").outputs.append(new_output(kind, **fields))


def replace(old: str, new: str) -> Damage:
    """Return a damage: another text, wherever it stands in the sources."""

    def damage(book: NotebookNode) -> None:
        assert saying(book, old)
        for cell in book.cells:
            cell.source = cell.source.replace(old, new)

    return damage


def tag(old: str, *new: str) -> Damage:
    """Return a damage: other tags of the first cell with a tag, and the metadata that fit them."""

    def damage(book: NotebookNode) -> None:
        cell = next(cell for cell in book.cells if old in cell_tags(cell))
        cell.metadata = {"tags": [*new]}
        cell.metadata = stored_metadata(cell)

    return damage


def repeat(text: str, times: int) -> Damage:
    """Return a damage: the cell with a text, more often."""

    def damage(book: NotebookNode) -> None:
        place = book.cells.index(saying(book, text))
        book.cells[place:place] = times * [book.cells[place]]

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
    (tag("experiment", "experiment", "seutp"), "the unknown tag 'seutp'"),
    (add("\ntorch.set_num_threads(2)"), "has set_num_threads: helpers/__init__.py alone"),
    (lambda book: book.cells[0].update(source="Title"), "starts with a '# ' heading"),
    (replace("CPU minute", "minute"), "does not state 'about N CPU minutes'"),
    (replace("colab.research", "colab"), "the Colab badge opens []"),
    (replace("main/notebooks/01_trial", "main/notebooks/02"), "the Colab badge opens"),
    (replace("main/notebooks/exercises", "main/notebooks"), "the Colab badge opens"),
    (replace(f"github/{stored_repository()}", "github/some/body"), "the Colab badge opens"),
    (replace(f"com/{stored_repository()}", "com/some/body"), "the setup cell clones"),
    (tag("imports", "imports", "setup"), "is not the one cell"),
    (add("\nimport torch", "setup"), "the setup cell does not end with"),
    (without_figures_and_assertions, "has neither a figure nor an assertion"),
    (without_figures_and_assertions, "no cell stores the JSON"),
    (add("[x](none.ipynb)", "title"), "the link none.ipynb names no existing file"),
    (add("[x](#None)", "title"), "the link #None names no existing heading"),
    (add("![ ](../README.md)", "title"), "an image without alt text"),
    (replace("**Exercise 1", "**Exercise 2"), "the exercises are numbered [2, 2"),
    (lambda book: book.cells.remove(tagged(book, "check")), "must follow each other"),
    (lambda book: tagged(book, "solution").update(source="x = 1"), "that defines no function"),
    # What the second edition alone asks for:
    (replace("5 (open)", "5"), "has 5 exercises with code and 0 open"),
    (replace("<summary>Hint", "<summary>Answer"), "Add 1: the statement has not one fold with a"),
    (lambda book: tagged(book, "setup").metadata.pop("cellView"), "do not fit its tags"),
    (lambda book: tagged(book, "check").update(metadata=COLLAPSED), "do not fit its tags"),
    (replace("# @title Draw both", "# Draw both"), "its first line is no '# @title'"),
    (repeat("## Where to go next", 55), "cells before the appendix, at most 75 are wanted"),
    (repeat("def square", 80), "lines of code on show, at most 400 are wanted"),
    (repeat("assert add_1", 20), "code cells on show without output, at most 20 are wanted"),
    (add(11 * "\n1 + 1"), "on show before the first picture, at most 15 are wanted"),
    (tag("experiment", "nbval-check-output"), "has the jobs [], not one of"),
    (tag("experiment", "experiment", "figure"), "has the jobs ['experiment', 'figure']"),
    (replace("assert gap", "gap"), "is a proof that asserts nothing"),
    (add("  # fmt: skip"), "has a 'fmt: skip'"),
    (add('\nprint(f"**Takeaway.** {4}")'), "has an answer or a takeaway in its code"),
    (replace("widths = [3", "widths = [gap + 3"), "needs gap, which only a proof defines"),
    (lambda book: tagged(book, "figure").outputs[0].update(metadata={}), "an image without alt"),
    (lambda book: tagged(book, "figure").update(outputs=[]), "no cell stores an animation"),
    (replace("draw_graph(", "draw("), "no cell draws a diagram"),
    (replace("</summary>\n\nThe slope", "</summary>\nThe slope"), "belongs to no fold"),
    (replace("</details>\n\nAnd now", "And now"), "belongs to no fold"),
    (replace("<summary>Derivation", "<summary>Skip"), "'<details><summary>Skip</summary>' belongs"),
    (replace("The slope of", "The [slope](02.ipynb) of"), "a link in the fold 'Derivation'"),
    (tag("solution"), "an answer or a takeaway, and not the tag 'solution'"),
    (tag("solution", "solutoin"), "the tags of a text are ['solutoin']"),
    (replace("**Answer.** The", "**Takeaway.** It.\n\n**Answer.** The"), "before the answer"),
    (replace("## Exercises", "Now\n\n## Exercises"), "heading does not start a cell"),
    (replace("## Where to go next", "## Further exercises"), "the last three sections are"),
    (
        lambda book: book.cells.remove(saying(book, "*Wrong2")),
        "'Right or wrong?' has 3 folded answers",
    ),
    (replace("## Appendix", "## Annex"), "the last three sections are"),
    (lambda book: book.cells.insert(4, book.cells.pop()), "they belong into the appendix"),
    (
        lambda book: stored_report(book)["claims"][0].update(verdict="imprecise"),
        "{'imprecise'} are no verdicts",
    ),
]


@pytest.mark.parametrize(("damage", "fault"), DAMAGES, ids=[fault for _, fault in DAMAGES])
def test_a_damage_is_seen(damage: Damage, fault: str, tmp_path: Path) -> None:
    path = write_notebook(lesson(), tmp_path)
    assert hygiene_faults(StoredNotebook(path)) == []
    book = StoredNotebook(path)
    damage(book.node)
    assert any(fault in text for text in hygiene_faults(book)), hygiene_faults(book)
