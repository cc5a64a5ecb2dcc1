"""Run the notebooks in fresh kernels, without a browser, and store their cleaned outputs.

``python -m tests.tools.execute_notebooks [paths] [--check] [--timeout SECONDS]`` runs the given
notebooks, or all. A notebook is rewritten only when every cell ran; after an error its file is
untouched and the exit status is 1. ``--check`` runs without writing.
"""

import argparse
import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import nbformat
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from traitlets import default

from tests.tools.notebook_tools import (
    cell_tags,
    notebook_paths,
    read_notebook,
    stored_metadata,
    write_notebook,
)

# What Jupyter writes, without the versions that differ between machines. Without the file's
# extension, nbconvert would make a .txt of a notebook.
NOTEBOOK_METADATA = {
    "kernelspec": {
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
        "name": "python3",
    },
    "language_info": {
        "codemirror_mode": {"name": "ipython", "version": 3},
        "file_extension": ".py",
        "mimetype": "text/x-python",
        "name": "python",
        "nbconvert_exporter": "python",
        "pygments_lexer": "ipython3",
    },
}
INTERACTIVE_TAG = "interactive"
CELL_SECONDS = 1200  # ten times what the slowest cell takes: for a hang, not for a slow machine
TERMINAL_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class NativeKernelManager(AsyncKernelManager):
    """Starts this interpreter's kernel, whatever other ``python3`` kernel the user has.

    Without folders to search, jupyter_client's ``python3`` is the running interpreter's kernel.
    """

    @default("kernel_spec_manager")
    def _kernel_spec_manager_default(self) -> KernelSpecManager:
        return KernelSpecManager(kernel_dirs=[])


class NotebookFailure(Exception):
    """A cell raised, took too long, or took the kernel down with it."""


def run_notebook(
    path: Path, timeout: int, environment: Mapping[str, str] | None = None
) -> NotebookNode:
    """Execute a notebook in a fresh kernel of this interpreter, in the notebook's folder.

    Parameters
    ----------
    path : Path
        The notebook; the file is only read.
    timeout : int
        Limit of a cell, in seconds.
    environment : Mapping, optional
        The kernel's environment variables; default: those of this process.

    Returns
    -------
    notebook : NotebookNode
        With the new outputs, not yet cleaned.

    Raises
    ------
    NotebookFailure
        Names the cell, and shows its source and the error.
    """
    notebook, begun = read_notebook(path), []
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        kernel_manager_class=NativeKernelManager,
        extra_arguments=["--log-level=ERROR"],  # else each kernel warns about its transport
        timeout=timeout,
        resources={"metadata": {"path": str(path.resolve().parent)}},
        record_timing=False,
        coalesce_streams=True,
        on_cell_execute=lambda cell_index, **_: begun.append(cell_index),
    )
    try:
        client.execute(env=dict(os.environ if environment is None else environment))
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        reason = TERMINAL_COLOUR.sub("", str(error)).strip()
        if begun and not isinstance(error, CellExecutionError):  # which shows the source itself
            reason = f"{notebook.cells[begun[-1]].source}\n{type(error).__name__}: {reason}"
        place = f"cell {begun[-1] + 1} failed" if begun else "no cell was executed"
        raise NotebookFailure(f"{place}\n{reason}") from error
    return notebook


def clean_notebook(notebook: NotebookNode) -> None:
    """Remove, in place, what differs from run to run or needs a live kernel; collapse by tag."""
    notebook.metadata = nbformat.from_dict(NOTEBOOK_METADATA)
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict(stored_metadata(cell))
        if INTERACTIVE_TAG in cell_tags(cell):
            cell.outputs = []
        for output in cell.get("outputs", []):
            if output.output_type in ("display_data", "execute_result"):
                alt = output.metadata.get("image/png", {}).get("alt")
                kept = {"image/png": {"alt": alt}} if alt else {}
                output.metadata = nbformat.from_dict(kept)


def execute_notebook(path: Path, timeout: int, write: bool) -> None:
    """Run a notebook and, if `write`, store its cleaned outputs in place."""
    notebook = run_notebook(path, timeout)
    if write:
        clean_notebook(notebook)
        write_notebook(notebook, path)


def attempt(execute: Callable[[Path], None], path: Path) -> tuple[bool, str]:
    """Execute a notebook; return whether that went well, and its minutes or what went wrong."""
    start = time.perf_counter()
    try:
        execute(path)
    except NotebookFailure as failure:
        return False, f"{path.name}: {failure}"
    except OSError as error:  # every cell ran
        remedy = "make room or get the right to write, or run with --check"
        return False, f"{path.name}: not stored: {error}; {remedy}"
    return True, f"{path.name}: {(time.perf_counter() - start) / 60:.2f} minutes"


def execute_all(execute: Callable[[Path], None], paths: Sequence[Path], at_once: int = 1) -> int:
    """Execute notebooks, each in a process, and say how each went; return the exit status."""
    failed = []
    with ProcessPoolExecutor(at_once) as pool:
        for path, (well, message) in zip(
            paths, pool.map(partial(attempt, execute), paths), strict=True
        ):
            print(message, file=sys.stdout if well else sys.stderr, flush=True)
            failed += [] if well else [path.name]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.tools.execute_notebooks", description=__doc__
    )
    parser.add_argument("paths", nargs="*", type=Path, help="notebooks; default: all")
    parser.add_argument("--check", action="store_true", help="run without writing")
    parser.add_argument("--timeout", type=int, default=CELL_SECONDS, help="of a cell, in seconds")
    options = parser.parse_args(arguments)
    execute = partial(execute_notebook, timeout=options.timeout, write=not options.check)
    return execute_all(execute, options.paths or notebook_paths())


if __name__ == "__main__":
    sys.exit(main())
