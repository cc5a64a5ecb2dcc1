"""Grade students' copies of the notebooks: ``python -m tests.tools.grade SUBMISSION…``.

A submission is a notebook of the edition with exercises, or a folder of such; its name is free. An
exercise is found by its cell's id. It runs in a process of its own, after the reference solutions
of those before it, so that one mistake costs one point, and is tried by the project's check,
whatever became of the copy's. Only the cells of the exercises run.

This is no sandbox: a submission can do whatever its grader can. Grade strangers' work in a
container or a virtual machine.
"""

import argparse
import csv
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import NamedTuple

from nbformat import NotebookNode

from helpers.reporting import markdown_table
from tests.tools.exercises import Exercise, find_exercises
from tests.tools.notebook_tools import (
    execute_cell,
    execute_cells,
    is_taught,
    notebook_paths,
    read_notebook,
)

SECONDS = 30.0  # an exercise's time, if no other is asked for
LONGEST = 300  # characters of a reason
# A copy of the process has the reference solutions at once; elsewhere each runs them again.
CONTEXT = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
PREPARED: dict[tuple[Path, int], dict] = {}  # notebook, exercise -> what is defined before it


class Grade(NamedTuple):
    """An exercise of a submission: 1 point, or 0 and the reason. Exercise 0 is the whole file."""

    submission: str
    notebook: str
    exercise: int
    title: str
    points: int
    reason: str


class Job(NamedTuple):
    """An answer to be graded: the submission and the source of its cell."""

    submission: str
    source: str
    remark: str


def grade(submissions: Sequence[Path], seconds: float = SECONDS) -> list[Grade]:
    """Grade notebooks and all those in folders; a file that is none gets a line, too."""
    grades: list[Grade] = []
    copies: dict[Path, dict[str, dict[str, str]]] = {}  # project's notebook -> name -> id -> code
    for path in _files(submissions):
        try:
            cells = {_id_of(c): c.source for c in read_notebook(path).cells if c.source}
            original = max(notebook_paths(), key=lambda p: len(cells.keys() & _ids(p)))
            if not any(solution.id in cells for _, solution, _ in _exercises(original)):
                raise ValueError("no cell of an exercise in it")
            copies.setdefault(original, {})[str(path)] = cells
        except Exception as error:  # whatever is in the file
            reason = f"expected a copy of one of the notebooks, found {_shortened(error)}"
            grades.append(Grade(str(path), "", 0, "", 0, reason))
    for path, of_notebook in copies.items():
        grades += _grade_copies(path, of_notebook, seconds)
    return sorted(grades)


def _files(submissions: Sequence[Path]) -> Iterator[Path]:
    for path in submissions:
        found = sorted(path.rglob("*.ipynb")) if path.is_dir() else [path]
        yield from (file for file in found if ".ipynb_checkpoints" not in file.parts)


@cache
def _exercises(path: Path) -> list[tuple[Exercise, NotebookNode, NotebookNode]]:
    """Exercises of one of the project's notebooks, with the cells of solution and check."""
    cells = read_notebook(path).cells
    return [(e, cells[e.solution], cells[e.check]) for e in find_exercises(read_notebook(path))]


def _id_of(cell: NotebookNode) -> str:
    return cell.get("id") or cell.metadata.get("id", "")  # Colab stores it in the metadata


@cache
def _ids(path: Path) -> frozenset[str]:
    """The ids of all cells: solutions' alone are alike in several notebooks."""
    return frozenset(cell.id for cell in read_notebook(path).cells)


def _grade_copies(path: Path, copies: dict[str, dict], seconds: float) -> Iterator[Grade]:
    """Grade copies of one notebook, exercise by exercise."""
    all_cells, namespace, done = read_notebook(path).cells, execute_cells([], path.stem), 0
    for exercise, solution, check in _exercises(path):
        for cell in filter(is_taught, all_cells[done : exercise.solution]):
            execute_cell(cell, namespace)
        done, PREPARED[path, exercise.number] = exercise.solution, namespace
        jobs = []
        for name, cells in copies.items():
            changed = cells.get(check.id) != check.source
            remark = " (The copy's check was changed; the project's was used.)" * changed
            if solution.id in cells:
                jobs.append(Job(name, cells[solution.id], remark))
                continue
            reason = f"no cell with the id {solution.id!r}: emptied, deleted or made anew?"
            yield Grade(name, path.stem, exercise.number, exercise.title, 0, reason + remark)
        for job, reason in _run(jobs, path, exercise, seconds):
            row = job.submission, path.stem, exercise.number, exercise.title
            yield Grade(*row, int(not reason), (reason + job.remark).strip())


def _run(jobs: list[Job], path: Path, exercise: Exercise, seconds: float) -> Iterator[tuple]:
    """Yield each job with the reason for which its answer is wrong, "" if it is right."""
    waiting, running = jobs[::-1], {}
    while waiting or running:
        while waiting and len(running) < (os.cpu_count() or 1):
            job, (reader, writer) = waiting.pop(), CONTEXT.Pipe(duplex=False)
            arguments = path, exercise, job.source, writer
            process = CONTEXT.Process(target=_answer, args=arguments, daemon=True)
            process.start()
            writer.close()
            running[reader] = job, process, time.monotonic() + seconds
        ready = wait(running, timeout=0.2)
        for reader, (job, process, end) in [*running.items()]:
            if reader in ready or time.monotonic() > end:
                reason = f"not done after {seconds:g} seconds: an endless loop?"
                if reader in ready:
                    reason = _received(reader, process)
                process.kill()
                process.join()
                del running[reader]
                yield job, reason


def _received(reader: Connection, process: multiprocessing.Process) -> str:
    try:
        return reader.recv()
    except EOFError:
        process.join(1)
        return f"the answer ended the process (exit code {process.exitcode}) before its check"


def _answer(path: Path, exercise: Exercise, source: str, writer: Connection) -> None:
    """Run an answer and its check, in a process of its own; send the reason, "" if it is right."""
    cells, namespace = read_notebook(path).cells, PREPARED.get((path, exercise.number))
    if namespace is None:
        namespace = execute_cells(filter(is_taught, cells[: exercise.solution]), path.stem)
    import matplotlib.pyplot as plt  # a notebook's imports have loaded it

    plt.switch_backend("Agg")
    cells[exercise.solution].source = source
    try:
        with open(os.devnull, "w") as no, redirect_stdout(no), redirect_stderr(no):
            execute_cell(cells[exercise.solution], namespace)
            execute_cell(cells[exercise.check], namespace)
        reason = ""
    except BaseException as error:  # whatever the answer does, and sys.exit
        reason = _shortened(error)
    writer.send(reason)


def _shortened(error: BaseException) -> str:
    """An error as one line."""
    if isinstance(error, NotImplementedError):
        return "not attempted"
    name = "" if isinstance(error, AssertionError) and str(error) else f"{type(error).__name__}: "
    text = " ".join(f"{name}{error}".split())
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"


def write_csv(grades: Sequence[Grade], path: Path) -> None:
    """Write a row for each grade, the whole file or nothing."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([Grade._fields, *grades])
    os.replace(temporary, path)


def table(grades: Sequence[Grade]) -> str:
    """Points of each submission, and what was lost, as a table."""
    rows = []
    for name in dict.fromkeys(g.submission for g in grades):
        own = [g for g in grades if g.submission == name]
        lost = "; ".join(f"{g.exercise or 'file'}: {g.reason}" for g in own if not g.points)
        rows.append((name, own[0].notebook, f"{sum(g.points for g in own)}/{len(own)}", lost))
    return markdown_table(("Submission", "Notebook", "Points", "Lost"), rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.tools.grade", description=__doc__)
    parser.add_argument("submissions", type=Path, nargs="+", help="notebooks, or folders of them")
    parser.add_argument("--csv", type=Path, help="a file for a row per exercise, with the reason")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="an exercise's time limit")
    asked = parser.parse_args(arguments)
    if missing := [str(path) for path in asked.submissions if not path.exists()]:
        parser.error(f"no such file or folder: {', '.join(missing)}")
    grades = grade(asked.submissions, asked.seconds)
    if asked.csv:
        write_csv(grades, asked.csv)
    print(table(grades))
    return 0


if __name__ == "__main__":
    sys.exit(main())
