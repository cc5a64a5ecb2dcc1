"""Read the notebooks, and load the code that they teach."""

import linecache
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import nbformat
from nbformat import NotebookNode

from helpers.reporting import RESULTS_MIME_TYPE

PROJECT = Path(__file__).resolve().parents[2]
NOTEBOOKS = PROJECT / "notebooks"
TAUGHT_TAGS = frozenset({"imports", "implementation"})


def notebook_paths() -> list[Path]:
    """Return the project's notebooks in the order of their numbers."""
    return sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))


def read_notebook(path: Path) -> NotebookNode:
    """Read a notebook in format 4.

    Raises
    ------
    FileNotFoundError
        If there is no such file; the notebooks that exist are named.
    """
    if not path.is_file():
        known = ", ".join(p.stem for p in notebook_paths()) or "none"
        raise FileNotFoundError(f"no notebook {path}; the project's notebooks are: {known}")
    return nbformat.read(path, as_version=4)


def cell_tags(cell: NotebookNode) -> list[str]:
    """Return the tags of a cell."""
    return cell.metadata.get("tags", [])


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


def load_implementation(name: str) -> SimpleNamespace:
    """Execute a notebook's ``imports`` and ``implementation`` cells in a fresh namespace.

    Parameters
    ----------
    name : str
        File name without the suffix, for example ``"02_fully_connected_network"``.

    Returns
    -------
    namespace : SimpleNamespace
        What those cells define and import. Nothing is shared between two calls.

    Raises
    ------
    FileNotFoundError
        If there is no such notebook.
    ValueError
        If no cell carries the tag ``implementation``.
    """
    path = NOTEBOOKS / f"{name}.ipynb"
    return load_cells(read_notebook(path), name)


def load_cells(notebook: NotebookNode, name: str) -> SimpleNamespace:
    """Do the work of `load_implementation` for a notebook that has been read."""
    tagged = [cell for cell in notebook.cells if is_taught(cell)]
    if not any("implementation" in cell_tags(cell) for cell in tagged):
        raise ValueError(f"notebook {name} has no cell with the tag 'implementation'")
    return SimpleNamespace(**execute_cells(tagged, name))


def execute_cells(cells: Iterable[NotebookNode], name: str) -> dict[str, object]:
    """Execute code cells in the fresh namespace of a module ``notebook_<name>``; return it."""
    if str(PROJECT) not in sys.path:
        sys.path.insert(0, str(PROJECT))
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
