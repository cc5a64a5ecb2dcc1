"""Read and write the notebooks, and load the code that they teach."""

import linecache
import os
import re
import sys
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType, SimpleNamespace

import nbformat
from nbformat import NotebookNode

from helpers.reporting import RESULTS_MIME_TYPE

PROJECT = Path(__file__).resolve().parents[2]
NOTEBOOKS = PROJECT / "notebooks"
EXERCISES = NOTEBOOKS / "exercises"  # the edition that tests.tools.exercise_edition writes
TAUGHT_TAGS = frozenset({"imports", "implementation"})
COLLAPSED_TAGS = frozenset({"setup", "imports", "proof", "report"})
LEFT_OUT_TAGS = frozenset({"proof", "report"})  # of the edition with exercises
FIGURE_LINES = 5  # a cell with the tag ``figure`` and more lines is collapsed, too
HIDDEN_TAG = "hide-input"
APPENDIX = "Appendix"  # how the heading of a notebook's last section begins
BADGE = "![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)"
BADGE_LINE = re.compile(r"^\[!\[Open in Colab\].*$", re.MULTILINE)


def stored_repository() -> str:
    """Return the address in pyproject.toml, as OWNER/REPO."""
    settings = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    return settings["tool"]["deep-learning-basics"]["repository"]


def notebook_paths() -> list[Path]:
    """Return the project's notebooks in the order of their numbers."""
    return sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))


def colab_link(text: str, name: str) -> str:
    """Return a link by which Colab opens a notebook, from its path below ``notebooks/``."""
    start = "https://colab.research.google.com/github"
    return f"[{text}]({start}/{stored_repository()}/blob/main/notebooks/{name})"


def badge_line(name: str) -> str:
    """Return the line of a notebook's title cell that opens it in Colab, and its exercises."""
    exercises = colab_link("Exercises in Colab", f"exercises/{name}")
    return f"{colab_link(BADGE, name)} {exercises}"


def read_notebook(path: Path) -> NotebookNode:
    """Read a notebook in format 4."""
    return nbformat.read(path, as_version=4)


def write_notebook(notebook: NotebookNode, path: Path) -> None:
    """Validate and write a notebook so that `path` is either the old file or the whole new one."""
    nbformat.validate(notebook)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        text = nbformat.writes(notebook) + "\n"
        temporary.write_text(text, encoding="utf-8", newline="\n")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def cell_tags(cell: NotebookNode) -> list[str]:
    """Return the tags of a cell."""
    return cell.metadata.get("tags", [])


def code_lines(cell: NotebookNode) -> list[str]:
    """Return the lines of a cell that are not blank."""
    return [line for line in cell.source.splitlines() if line.strip()]


def stored_metadata(cell: NotebookNode) -> dict[str, object]:
    """Return what is stored of a cell's metadata: its tags, and what collapses its code.

    The tags say whether it is collapsed. JupyterLab and VS Code read ``source_hidden``, Colab
    ``cellView``, and Jupyter Book the tag ``hide-input``.
    """
    tags = [tag for tag in cell_tags(cell) if tag != HIDDEN_TAG]
    long_figure = "figure" in tags and len(code_lines(cell)) > FIGURE_LINES
    if cell.cell_type == "code" and (long_figure or not COLLAPSED_TAGS.isdisjoint(tags)):
        hidden = {"cellView": "form", "jupyter": {"source_hidden": True}}
        return {**hidden, "tags": [*tags, HIDDEN_TAG]}
    return {"tags": tags} if tags else {}


def is_taught(cell: NotebookNode) -> bool:
    """Say whether a cell imports or implements: what tests and exercises' checks need."""
    return not TAUGHT_TAGS.isdisjoint(cell_tags(cell))


def stored_report(notebook: NotebookNode) -> dict | None:
    """Return the JSON that `helpers.reporting.show_report` stored, None if there is none."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if RESULTS_MIME_TYPE in output.get("data", {}):
                return output.data[RESULTS_MIME_TYPE]
    return None


@dataclass(frozen=True)
class StoredNotebook:
    """A notebook's file and what was read from it."""

    path: Path

    @cached_property
    def node(self) -> NotebookNode:
        return read_notebook(self.path)

    @property
    def appendix(self) -> int:
        """How many cells stand before the appendix."""
        found = [cells[0] for text, cells in self.sections if text.startswith(APPENDIX)]
        cells = self.node.cells
        return next((i for i, cell in enumerate(cells) if cell in found), len(cells))

    def cells(self, kind: str) -> list[tuple[int, NotebookNode]]:
        """Return the cells of a type, each with its position in the notebook, counted from 1."""
        return [(i, c) for i, c in enumerate(self.node.cells, start=1) if c.cell_type == kind]

    @cached_property
    def sections(self) -> list[tuple[str, list[NotebookNode]]]:
        """Each ``## `` heading with its cell and those up to the next heading."""
        sections: list[tuple[str, list[NotebookNode]]] = []
        for cell in self.node.cells:
            if cell.cell_type == "markdown":
                sections += [(text, []) for text in headings(cell.source, level=2)]
            if sections:
                sections[-1][1].append(cell)
        return sections


def headings(markdown: str, level: int | None = None) -> list[str]:
    """Return the texts of the headings outside code blocks, of one level or of all."""
    marks = "#{1,6}" if level is None else "#" * level
    text = re.sub(r"```.*?```", "", markdown, flags=re.DOTALL)
    return re.findall(rf"^{marks} +(.+?) *$", text, re.MULTILINE)


def load_implementation(name: str) -> SimpleNamespace:
    """Return what a notebook's ``imports`` and ``implementation`` cells define and import.

    `name` is the file's without suffix, as ``"02_fully_connected_network"``. Nothing is shared
    between two calls.
    """
    cells = read_notebook(NOTEBOOKS / f"{name}.ipynb").cells
    return SimpleNamespace(**execute_cells(filter(is_taught, cells), name))


def execute_cells(cells: Iterable[NotebookNode], name: str) -> dict[str, object]:
    """Execute code cells in the fresh namespace of a module ``notebook_<name>``; return it."""
    module = ModuleType(f"notebook_{name}")
    sys.modules[module.__name__] = module  # where dataclasses look up their own module
    for cell in cells:
        execute_cell(cell, module.__dict__)
    return module.__dict__


def execute_cell(cell: NotebookNode, namespace: dict[str, object]) -> None:
    """Execute a code cell in the namespace that `execute_cells` returned."""
    filename = f"<{namespace['__name__']}, cell {cell.id}>"
    # Lets tracebacks and inspect.getsource show the cell's lines.
    linecache.cache[filename] = (len(cell.source), None, cell.source.splitlines(True), filename)
    exec(compile(cell.source, filename, "exec"), namespace)
