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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from traitlets import default

from helpers.files import replaced_as_a_whole
from tests.tools.notebook_tools import notebook_paths, read_notebook

NOTEBOOK_METADATA = {
    "kernelspec": {
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
        "name": "python3",
    },
    "language_info": {"name": "python"},
}
INTERACTIVE_TAG = "interactive"
TERMINAL_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass
class CellTimes:
    """Seconds by cell index, filled through nbclient's hooks."""

    seconds: dict[int, float] = field(default_factory=dict)
    current: int | None = None
    _start: float = 0.0

    def begin(self, cell_index: int, **_: object) -> None:
        self.current, self._start = cell_index, time.perf_counter()

    def end(self, cell_index: int, **_: object) -> None:
        self.seconds[cell_index] = time.perf_counter() - self._start

    def slowest(self, count: int) -> list[tuple[int, float]]:
        """Return (cell index, seconds) of the `count` slowest cells, slowest first."""
        return sorted(self.seconds.items(), key=lambda item: -item[1])[:count]


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
) -> tuple[NotebookNode, CellTimes]:
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
    times : CellTimes

    Raises
    ------
    NotebookFailure
        Names the cell, and shows its source and the error.
    """
    notebook, times = read_notebook(path), CellTimes()
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        kernel_manager_class=NativeKernelManager,
        extra_arguments=["--log-level=ERROR"],  # else each kernel warns about its transport
        timeout=timeout,
        resources={"metadata": {"path": str(path.resolve().parent)}},
        record_timing=False,
        coalesce_streams=True,
        on_cell_execute=times.begin,
        on_cell_executed=times.end,
    )
    try:
        client.execute(env=dict(os.environ if environment is None else environment))
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        raise NotebookFailure(_failure_message(path, notebook, times.current, error)) from error
    return notebook, times


def clean_notebook(notebook: NotebookNode) -> None:
    """Remove, in place, what differs from run to run or needs a live kernel."""
    notebook.metadata = nbformat.from_dict(NOTEBOOK_METADATA)
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})
        if cell.cell_type != "code":
            continue
        if INTERACTIVE_TAG in tags:
            cell.outputs = []
        for output in cell.outputs:
            if output.output_type in ("display_data", "execute_result"):
                output.metadata = nbformat.from_dict({})


def write_atomically(notebook: NotebookNode, path: Path) -> None:
    """Validate and write a notebook so that `path` is either the old file or the whole new one."""
    nbformat.validate(notebook)
    text = nbformat.writes(notebook) + "\n"
    with replaced_as_a_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def execute_notebook(path: Path, timeout: int, write: bool) -> CellTimes:
    """Run a notebook and, if `write`, store its cleaned outputs in place."""
    notebook, times = run_notebook(path, timeout)
    if write:
        clean_notebook(notebook)
        write_atomically(notebook, path)
    return times


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.tools.execute_notebooks", description=__doc__
    )
    parser.add_argument("paths", nargs="*", type=Path, help="notebooks; default: all")
    parser.add_argument("--check", action="store_true", help="run without writing")
    parser.add_argument("--timeout", type=int, default=300, help="seconds a cell may take")
    options = parser.parse_args(arguments)
    failed = []
    for path in options.paths or notebook_paths():
        start = time.perf_counter()
        try:
            times = execute_notebook(path, options.timeout, write=not options.check)
        except NotebookFailure as failure:
            print(failure, file=sys.stderr)
            failed.append(path.name)
            continue
        except OSError as error:  # every cell ran
            remedy = "make room or get the right to write, or run with --check"
            print(f"{path.name}: not stored: {error}; {remedy}", file=sys.stderr)
            failed.append(path.name)
            continue
        minutes = (time.perf_counter() - start) / 60
        slowest = ", ".join(f"cell {i + 1}: {s:.1f} s" for i, s in times.slowest(3))
        print(f"{path.name}: {minutes:.2f} minutes; slowest {slowest}", flush=True)
    if failed:
        print(f"failed, left as they were: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _failure_message(
    path: Path, notebook: NotebookNode, index: int | None, error: Exception
) -> str:
    """Return what a person needs to find and mend the failing cell."""
    if index is None:
        return f"{path.name}: no cell was executed\n{error}"
    reason = TERMINAL_COLOUR.sub("", str(error)).strip()
    if not isinstance(error, CellExecutionError):  # the others do not show the source
        reason = f"{notebook.cells[index].source}\n{type(error).__name__}: {reason}"
    return f"{path.name}: cell {index + 1} failed\n{reason}"


if __name__ == "__main__":
    sys.exit(main())
