"""The hygiene checker finds each fault in a notebook made bad on purpose, and nothing else."""

from collections.abc import Callable
from pathlib import Path

import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output

from helpers.mnist import load_mnist
from tests.collection.notebook_hygiene import hygiene_faults, link_faults, setup_faults
from tests.collection.trial_notebook import good_notebook, write_notebook

TITLE, SETUP, IMPORTS, SECTION, IMPLEMENTATION, FIGURE, REPORTS, REPORT, EXERCISES = range(9)


def store(index: int, kind: str, **fields: object) -> Callable[[NotebookNode], None]:
    """Return a break that adds an output to a cell."""
    return lambda book: book.cells[index].outputs.append(new_output(kind, **fields))


def replace(index: int, old: str, new: str) -> Callable[[NotebookNode], None]:
    """Return a break that changes a cell's source."""

    def change(book: NotebookNode) -> None:
        assert old in book.cells[index].source
        book.cells[index].source = book.cells[index].source.replace(old, new)

    return change


def add(index: int, text: str) -> Callable[[NotebookNode], None]:
    """Return a break that adds text at the end of a cell's source."""
    return lambda book: book.cells[index].update(source=f"{book.cells[index].source}\n{text}")


def not_executed(book: NotebookNode) -> None:
    book.cells[FIGURE].execution_count = None


def executed_twice(book: NotebookNode) -> None:
    book.cells[REPORT].execution_count = 9


def widget_state(book: NotebookNode) -> None:
    book.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {}}


def other_kernel(book: NotebookNode) -> None:
    book.metadata.kernelspec.name = "deep-learning"


def too_large(book: NotebookNode) -> None:
    book.cells[FIGURE].outputs[0].data["image/png"] = "A" * 2_000_001


def unknown_tag(book: NotebookNode) -> None:
    book.cells[IMPLEMENTATION].metadata.tags.append("implementaton")


def no_figure(book: NotebookNode) -> None:
    book.cells[FIGURE].outputs.clear()


def empty_section(book: NotebookNode) -> None:
    book.cells.insert(REPORTS, new_markdown_cell("## Think\n\n```\n## not a heading\n```"))


def title_is_code(book: NotebookNode) -> None:
    book.cells.insert(SECTION, book.cells.pop(TITLE))


def second_setup(book: NotebookNode) -> None:
    book.cells[IMPORTS].metadata.tags.append("setup")


def late_setup(book: NotebookNode) -> None:
    book.cells.insert(SETUP, new_code_cell("1 + 1", execution_count=1))
    for count, cell in enumerate((c for c in book.cells if c.cell_type == "code"), start=1):
        cell.execution_count = count


def no_report_json(book: NotebookNode) -> None:
    book.cells[REPORT].outputs.clear()


def other_report(book: NotebookNode) -> None:
    data = book.cells[REPORT].outputs[0].data
    data[next(kind for kind in data if kind.endswith("+json"))]["notebook"] = "02_other"


def no_exercises(book: NotebookNode) -> None:
    del book.cells[EXERCISES]


def stored_widget(book: NotebookNode) -> None:
    view = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/plain": "Slider"}
    store(FIGURE, "display_data", data=view)(book)


BREAKS = [
    (not_executed, "cell 6 was not executed"),
    (executed_twice, "the cells were executed as [1, 2, 3, 4, 9], not"),
    (store(FIGURE, "error", ename="E", evalue="", traceback=["E"]), "cell 6 stores an error"),
    (store(FIGURE, "stream", name="stderr", text="warning"), "cell 6 stores output to stderr"),
    (stored_widget, "cell 6 stores a widget"),
    (widget_state, "the metadata has widget state"),
    (store(FIGURE, "stream", text=" 50%|####   | 5/10"), "cell 6 stores a progress bar"),
    (store(FIGURE, "stream", text="10 [00:01, 7.1it/s]"), "cell 6 stores a progress bar"),
    (store(FIGURE, "stream", text="a\rb"), "cell 6 stores a progress bar"),
    (
        store(FIGURE, "stream", text=load_mnist("digits").description),
        "cell 6 was executed with the bundled digits, not with MNIST",
    ),
    (store(FIGURE, "stream", text="in /home/me/x"), "cell 6 has a path of one machine: /home/"),
    (
        store(FIGURE, "display_data", data={"text/plain": "'C:\\\\Users\\\\me'"}),
        "cell 6 has a path of one machine: C:\\\\Users",
    ),
    (add(FIGURE, 'open("/tmp/x")'), "cell 6 has a path of one machine: /tmp/"),
    (add(EXERCISES, "See file:///work/x."), "cell 9 has a path of one machine: /work/"),
    (too_large, "the file has 2.0 MB, more than 2"),
    (other_kernel, "the kernel is named 'deep-learning', not 'python3'"),
    (add(FIGURE, "\n".join(["1 + 1\n"] * 20)), "cell 6 has 21 lines, more than 20"),
    (unknown_tag, "cell 5 has the unknown tag 'implementaton'"),
    (no_figure, "the section 'See squares' has neither a figure nor an assertion"),
    (empty_section, "the section 'Think' has neither a figure nor an assertion"),
    (replace(TITLE, "# Trial", "Trial"), "the first cell is not a markdown cell that starts"),
    (replace(TITLE, "about 1 CPU minute", "some minutes"), "the title cell does not state"),
    (replace(TITLE, "colab.research", "colab"), "the title cell has no Colab badge"),
    (replace(TITLE, "01_trial", "02_other"), "the Colab badge opens notebooks/02_other.ipynb, not"),
    (
        replace(TITLE, "owner/", "somebody/"),
        "the Colab badge opens somebody/project, the setup cell clones owner/project",
    ),
    (late_setup, "the first code cell is not the one cell with the tag 'setup'"),
    (second_setup, "the first code cell is not the one cell with the tag 'setup'"),
    (no_report_json, "no cell stores the JSON of helpers.reporting.show_report"),
    (other_report, "the stored report is that of 02_other"),
    (no_exercises, "the last two sections are ('See squares', 'Reports against measurements')"),
    (replace(SECTION, "01_trial.ipynb", "03_x.ipynb"), "cell 4: the link 03_x.ipynb names no ex"),
    (replace(SECTION, "#See-squares", "#Cubes"), "cell 4: the link #Cubes names no existing head"),
    (
        replace(SECTION, "(01_trial.ipynb)", "(01_trial.ipynb#Cubes)"),
        "cell 4: the link 01_trial.ipynb#Cubes names no existing heading",
    ),
    (add(SECTION, "![ ](01_trial.ipynb)"), "cell 4 has an image without alt text"),
    (add(SECTION, '<img src="a.png">'), "cell 4 has an image without alt text"),
]


@pytest.mark.parametrize(("change", "fault"), BREAKS, ids=[fault for _, fault in BREAKS])
def test_each_break_gives_exactly_its_fault(
    change: Callable[[NotebookNode], None], fault: str, tmp_path: Path
) -> None:
    book = good_notebook()
    change(book)
    faults = hygiene_faults(write_notebook(book, tmp_path))
    assert len(faults) == 1
    assert faults[0].startswith(fault)


HARMLESS = [
    add(SECTION, "$f:\\mathbb{R}\\to$, `[a](b)`, $[w](x)$, https://example.org/home/x, a/tmp/b"),
    add(FIGURE, "\n".join(["1 + 1\n"] * 19)),
    add(SECTION, '![squares](01_trial.ipynb) <img src="a.png" alt="squares">'),
    add(IMPLEMENTATION, "assert square(2) == 4"),
    store(FIGURE, "stream", text="100% of 64 members, ratio 1/2"),
]


@pytest.mark.parametrize("change", [lambda book: None, *HARMLESS])
def test_a_good_notebook_has_no_faults(
    change: Callable[[NotebookNode], None], tmp_path: Path
) -> None:
    book = good_notebook()
    change(book)
    assert hygiene_faults(write_notebook(book, tmp_path)) == []


@pytest.mark.parametrize("source", ["assert square(2) == 4", "check.assert_close(1, 1)"])
def test_an_assertion_is_enough_for_a_section(source: str, tmp_path: Path) -> None:
    book = good_notebook()
    no_figure(book)
    book.cells[FIGURE].source = source
    assert hygiene_faults(write_notebook(book, tmp_path)) == []


def test_a_comment_about_an_assertion_is_not_enough(tmp_path: Path) -> None:
    book = good_notebook()
    no_figure(book)
    book.cells[FIGURE].source = '# assert True\nprint("assert True")'
    assert len(hygiene_faults(write_notebook(book, tmp_path))) == 1


def test_a_setup_cell_that_differs_is_named(tmp_path: Path) -> None:
    paths = [write_notebook(good_notebook(), tmp_path, name) for name in ("01_a", "02_b")]
    assert setup_faults(paths) == []
    changed = good_notebook()
    changed.cells[SETUP].source += "\n"
    paths.append(write_notebook(changed, tmp_path, "03_c"))
    assert setup_faults(paths) == ["03_c.ipynb: the setup cell differs from that of 01_a.ipynb"]


def test_links_of_a_markdown_file(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text("# What it is, really\n", encoding="utf-8")
    assert link_faults("[a](README.md#what-it-is-really) [b](#what-it-is-really)", page) == []
    assert link_faults("[a](README.md#what-it-is)", page) == [
        "the link README.md#what-it-is names no existing heading"
    ]
