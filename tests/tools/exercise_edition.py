"""Make the edition with exercises: the notebooks, with their solutions taken out.

``python -m tests.tools.exercise_edition`` writes ``notebooks/exercises`` anew, one notebook of the
same name for each of the project's, and the link to it into each title cell; with a FOLDER it
writes into that, and never over a file. The code of a solution becomes a stub, an answer becomes a
place to write one, and above each check stands what it prints and shows when the solution is right.
Proofs and judgements of claims, which say what was found, are left out, and so is the appendix.

``--nbgrader FOLDER`` writes what a teacher needs to grade the exercises by nbgrader: FOLDER is the
``source`` of a course inside the project's folder, where the set-up cell finds the project. Each
assignment has what its exercises need, and no experiment or figure: grading takes seconds.
"""

import argparse
import copy
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from nbformat import NotebookNode, from_dict
from nbformat.v4 import new_code_cell, new_markdown_cell

from tests.tools.exercises import CHECK_TAG, SOLUTION_TAG, STATEMENT, find_exercises, marked, stub
from tests.tools.folds import without_answers
from tests.tools.notebook_tools import (
    APPENDIX,
    BADGE,
    BADGE_LINE,
    EXERCISES,
    LEFT_OUT_TAGS,
    badge_line,
    cell_tags,
    colab_link,
    is_taught,
    notebook_paths,
    read_notebook,
    stored_repository,
    write_notebook,
)

HEADER = """{badge}

*The edition with exercises: code and answers are yours to write, from top to bottom, because \
later cells need your code. What is called short takes a few lines, what is called open has no \
check. The solved notebook is [notebooks/{name}](https://github.com/{repository}/blob/main/notebooks/{name}).*"""
GRADED_HEADER = "*The exercises, to be handed in. Their experiments and pictures are in {lesson}.*"
LINK = re.compile(r"\[([^]]+)\]\((\d\d_\w+\.ipynb)\)")  # to another notebook
PREDICTION = re.compile(r"\n*^\*\*Predict before you run\.\*\*.*?(?=\n\n|\Z)", re.M | re.S)
QUIET = '\n\nimport warnings  # nbgrader takes one for a mistake\n\nwarnings.simplefilter("ignore")'
# nbgrader takes the lines between the marks out of what students get, and puts them back.
RESTORED = """# When this is graded, the reference solution takes over from here on.
### BEGIN HIDDEN TESTS
{solution}
### END HIDDEN TESTS"""


def edition(notebook: NotebookNode, name: str, header: str = HEADER) -> NotebookNode:
    """Return an executed notebook, of that file name, without solutions, outputs and counts."""
    made = copy.deepcopy(notebook)
    exercises = {exercise.solution: exercise for exercise in find_exercises(notebook)}
    every = find_exercises(notebook, with_open=True)
    open_ones = {e.statement for e in every} - {e.statement for e in exercises.values()}
    cells = []
    for position, cell in enumerate(made.cells):
        if not LEFT_OUT_TAGS.isdisjoint(cell_tags(cell)):
            continue
        cells.append(cell)
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        elif cell.source.startswith(f"## {APPENDIX}"):
            heading = cell.source.partition("\n")[0]
            cell.source = f"{heading}\n\nProofs and the table of claims are in the solved notebook."
            break
        elif SOLUTION_TAG in cell_tags(cell):
            cell.source = "**Your answer here.**"
        else:
            cell.source = without_answers(cell.source)
        if position in open_ones:
            cells.append(new_code_cell("# Your experiments", id=f"{cell.id}-yours"))
        if exercise := exercises.get(position):
            cell.source = stub(cell.source, exercise)
            cells.append(expected_cell(notebook.cells[exercise.check]))
    made.cells = cells
    texts = {"name": name, "repository": stored_repository()}
    for key, text in {"badge": BADGE, "lesson": "the lesson"}.items():
        texts[key] = colab_link(text, f"exercises/{name}")
    header = header.format(**texts)
    made.cells[0].source = BADGE_LINE.sub(lambda _: header, made.cells[0].source)
    return made


def expected_cell(check: NotebookNode) -> NotebookNode:
    """Return a markdown cell with the texts and figures that an executed check has stored."""
    parts = ["**Expected of the check below**, when your code is right:"]
    for output in check.outputs:
        data = output.get("data", {})
        if "text/markdown" in data:
            parts.append(data["text/markdown"])
        elif "image/png" in data:
            picture = data["image/png"].replace("\n", "")
            alt = output.metadata.get("image/png", {}).get("alt", "the figure of the check")
            parts.append(f"![{alt}](data:image/png;base64,{picture})")
        else:
            text = output.get("text", data.get("text/plain", ""))
            parts.append(f"```text\n{text.rstrip()}\n```")
    if not check.outputs:
        parts.append("no output, and no error.")
    return new_markdown_cell("\n\n".join(parts), id=f"{check.id}-expected")


def graded_edition(notebook: NotebookNode, name: str) -> NotebookNode:
    """Return a notebook's exercises as nbgrader's source: a point for each check that passes.

    All cells but the solutions are locked. After each check a cell of 0 points restores the
    reference solution, so that a mistake costs nothing further down.
    """
    made = edition(notebook, name, GRADED_HEADER)
    solved = {notebook.cells[e.check].id: e.solution for e in find_exercises(notebook)}
    sources = {cell.id: cell.source for cell in notebook.cells}
    cells = []
    for cell in _needed(made.cells):
        _mark(cell, points=1 if cell.id in solved else None)
        cells.append(cell)
        if "setup" in cell_tags(cell):
            cell.source += QUIET
        elif SOLUTION_TAG in cell_tags(cell):
            cell.source = marked(sources[cell.id])
            cell.metadata.nbgrader.update(solution=True, locked=False)
        elif cell.id in solved:
            restored = RESTORED.format(solution=notebook.cells[solved[cell.id]].source)
            cells.append(new_code_cell(restored, id=f"{cell.id}-restored"))
            _mark(cells[-1], points=0)
    made.cells = cells
    return made


def _needed(cells: Sequence[NotebookNode]) -> Iterator[NotebookNode]:
    """Yield what exercises need: the title, code that is taught, and their sections' texts."""
    checks = [i for i, cell in enumerate(cells) if CHECK_TAG in cell_tags(cell)]
    starts = [i for i, cell in enumerate(cells) if cell.source.startswith("## ")]
    for i, cell in enumerate(cells[: checks[-1] + 1]):
        if cell.cell_type == "code":
            if is_taught(cell) or not {"setup", CHECK_TAG}.isdisjoint(cell_tags(cell)):
                yield cell
            continue
        end = next((start for start in starts if start > i), len(cells))
        statement = STATEMENT.match(cell.source)
        is_left_out = SOLUTION_TAG in cell_tags(cell) or (statement and statement[2])
        if i == 0 or (any(i < check < end for check in checks) and not is_left_out):
            text = PREDICTION.sub("", cell.source)
            cell.source = LINK.sub(lambda link: colab_link(link[1], f"exercises/{link[2]}"), text)
            yield cell


def _mark(cell: NotebookNode, points: int | None = None) -> None:
    """Lock a cell for nbgrader; one with points is a test."""
    marks = {"schema_version": 3, "grade_id": cell.id, "locked": True, "task": False}
    marks |= {"solution": False, "grade": points is not None}
    cell.metadata["nbgrader"] = from_dict(marks if points is None else marks | {"points": points})


def write_links() -> None:
    """Write the link to its exercises into the title cell of each notebook where it is not."""
    for path in notebook_paths():
        notebook, line = read_notebook(path), badge_line(path.name)
        linked = BADGE_LINE.sub(lambda _, line=line: line, notebook.cells[0].source)
        if linked != notebook.cells[0].source:
            notebook.cells[0].source = linked
            write_notebook(notebook, path)


def write_all(made: Mapping[Path, NotebookNode]) -> None:
    """Write notebooks into folders, which are created; over files in `EXERCISES` alone.

    Another file may hold somebody's work: then FileExistsError is raised, and none is written.
    """
    for path in made:
        if path.exists() and path.parent != EXERCISES:
            remedy = "Name another folder, or move that file away."
            raise FileExistsError(f"{path}: expected no such file yet, found a notebook. {remedy}")
    for path, notebook in made.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_notebook(notebook, path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.tools.exercise_edition", description=__doc__
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("folder", nargs="?", type=Path, help="default: notebooks/exercises, anew")
    where.add_argument("--nbgrader", type=Path, metavar="FOLDER", help="a course's source")
    options = parser.parse_args(arguments)
    make = graded_edition if options.nbgrader else edition
    folder = options.nbgrader or options.folder or EXERCISES
    if folder == EXERCISES:
        write_links()
    places = {path: folder / (path.stem if options.nbgrader else "") for path in notebook_paths()}
    made = {to / path.name: make(read_notebook(path), path.name) for path, to in places.items()}
    try:
        write_all(made)
    except OSError as error:
        print(error, file=sys.stderr)
        return 1
    for old in {*EXERCISES.glob("*.ipynb")} - made.keys() if folder == EXERCISES else ():
        old.unlink()
    print(f"{len(made)} notebooks in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
