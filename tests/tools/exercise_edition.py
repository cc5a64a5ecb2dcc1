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

from tests.tools.exercises import (
    CHECK_TAG,
    SOLUTION_TAG,
    STATEMENT,
    find_exercises,
    marked,
    stub,
)
from tests.tools.folds import without_answers
from tests.tools.notebook_tools import (
    APPENDIX,
    BADGE_LINE,
    EXERCISES,
    LEFT_OUT_TAGS,
    badge,
    badge_line,
    cell_tags,
    colab_address,
    edition_paths,
    is_taught,
    read_notebook,
    stored_repository,
    write_notebook,
)

HEADER = """{badge}

*The edition with exercises: code and answers are yours to write. The solved notebook is \
[notebooks/{name}](https://github.com/{repository}/blob/main/notebooks/{name}).*"""
GRADED_HEADER = """*The exercises, to be handed in. Their experiments and pictures are in \
[the lesson]({lesson}).*"""
LINKED_NOTEBOOK = re.compile(r"(?<=\]\()(\d\d_\w+\.ipynb)")
PREDICTION = re.compile(r"\n*^\*\*Predict before you run\.\*\*.*?(?=\n\n|\Z)", re.M | re.S)
# A text on stderr, such as a warning, costs all points of a check.
QUIET = """

import warnings  # nbgrader takes them for mistakes

warnings.simplefilter("ignore")"""
# nbgrader takes the lines between the marks out of what students get, and puts them back.
RESTORED = """# When this is graded, the reference solution takes over from here on.
### BEGIN HIDDEN TESTS
{solution}
### END HIDDEN TESTS"""


def edition(notebook: NotebookNode, name: str, header: str = HEADER) -> NotebookNode:
    """Return an executed notebook, of that file name, without solutions, outputs and counts."""
    made = copy.deepcopy(notebook)
    exercises = {exercise.solution: exercise for exercise in find_exercises(notebook)}
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
        if exercise := exercises.get(position):
            cell.source = stub(cell.source, exercise)
            cells.append(expected_cell(notebook.cells[exercise.check]))
    made.cells = cells
    texts = {"name": name, "badge": badge(f"exercises/{name}"), "repository": stored_repository()}
    header = header.format(**texts, lesson=colab_address(f"exercises/{name}"))
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
            cell.source = PREDICTION.sub("", cell.source)
            cell.source = LINKED_NOTEBOOK.sub(
                lambda link: colab_address(f"exercises/{link[1]}"), cell.source
            )
            yield cell


def _mark(cell: NotebookNode, points: int | None = None) -> None:
    """Lock a cell for nbgrader; one with points is a test."""
    marks = {"schema_version": 3, "grade_id": cell.id, "locked": True, "task": False}
    marks |= {"solution": False, "grade": points is not None}
    cell.metadata["nbgrader"] = from_dict(marks if points is None else marks | {"points": points})


def rewrite_edition() -> list[Path]:
    """Write ``notebooks/exercises`` anew, and the links to it; return the written paths."""
    made = {}
    for path in edition_paths():
        notebook = read_notebook(path)
        title = notebook.cells[0]
        linked = BADGE_LINE.sub(lambda _, path=path: badge_line(path.name), title.source)
        if linked != title.source:
            title.source = linked
            write_notebook(notebook, path)
        made[EXERCISES / path.name] = edition(notebook, path.name)
    for old in {*EXERCISES.glob("*.ipynb")} - made.keys():
        old.unlink()
    return write_all(made)


def write_all(made: Mapping[Path, NotebookNode]) -> list[Path]:
    """Write notebooks into folders, which are created; return their paths."""
    for path, notebook in made.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_notebook(notebook, path)
    return [*made]


def write_new(made: Mapping[Path, NotebookNode]) -> list[Path]:
    """Do the same where there are no such files yet.

    Raises
    ------
    FileExistsError
        If one of them exists, which may hold somebody's work; then none is written.
    """
    for path in filter(Path.exists, made):
        remedy = "Name another folder, or move that file away."
        raise FileExistsError(f"{path}: expected no such file yet, found a notebook. {remedy}")
    return write_all(made)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.tools.exercise_edition", description=__doc__
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("folder", nargs="?", type=Path, help="default: notebooks/exercises, anew")
    where.add_argument("--nbgrader", type=Path, metavar="FOLDER", help="a course's source")
    options = parser.parse_args(arguments)
    solved = {path: read_notebook(path) for path in edition_paths()}
    try:
        if folder := options.nbgrader:
            names = {path: folder / path.stem / path.name for path in solved}
            written = write_new({names[p]: graded_edition(n, p.name) for p, n in solved.items()})
        elif folder := options.folder:
            written = write_new({folder / p.name: edition(n, p.name) for p, n in solved.items()})
        else:
            folder, written = EXERCISES, rewrite_edition()
    except OSError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{len(written)} notebooks in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
