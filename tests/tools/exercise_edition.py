"""Make the edition with exercises: all notebooks, with their solutions taken out.

``python -m tests.tools.exercise_edition FOLDER`` writes a notebook of the same name for each of the
project's into FOLDER. The code of a solution becomes a stub, an answer becomes a place to write
one, and above each check stands what it prints and shows when the solution is right. Proofs and
judgements of claims, which say what was found, are left out, and so is the appendix.
"""

import argparse
import copy
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell

from tests.collection.notebook_hygiene import BADGE_LINE
from tests.tools.exercises import SOLUTION_TAG, STATEMENT, find_exercises, stub
from tests.tools.folds import without_answers
from tests.tools.notebook_tools import (
    APPENDIX,
    LEFT_OUT_TAGS,
    PROJECT,
    cell_tags,
    headings,
    notebook_paths,
    read_notebook,
    stored_repository,
    write_notebook,
)

# The setup cell looks for the project around the notebook; the edition may lie elsewhere.
SEARCHED = "for f in (here, *here.parents)"
SEARCHED_WITH_PROJECT = "for f in (here, *here.parents, Path({project!r}))"


def edition(notebook: NotebookNode, original: str) -> NotebookNode:
    """Return an executed notebook without solutions, outputs and execution counts.

    `original` is the link to the executed notebook, where the solutions are.
    """
    made = copy.deepcopy(notebook)
    exercises = {exercise.solution: exercise for exercise in find_exercises(notebook)}
    cells, section = [], ""
    for position, cell in enumerate(made.cells):
        if not LEFT_OUT_TAGS.isdisjoint(cell_tags(cell)):
            continue
        cells.append(cell)
        if cell.cell_type == "markdown":
            section = next(reversed(headings(cell.source, level=2)), section)
            _prepare_text(cell, f"{original}#{section.replace(' ', '-')}")
        else:
            cell.outputs, cell.execution_count = [], None
        if section.startswith(APPENDIX):
            solved = f"[the executed notebook]({original}#{section.replace(' ', '-')})"
            cell.source = f"## {section}\n\nProofs and the table of claims are in {solved}."
            break
        if exercise := exercises.get(position):
            cell.source = stub(cell.source, exercise)
            cells.append(expected_cell(notebook.cells[exercise.check]))
    made.cells = cells
    made.cells[0].source = BADGE_LINE.sub(
        f"*The edition with exercises: the solutions are in [the executed notebook]({original}).*",
        made.cells[0].source,
    )
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


def write_edition(folder: Path) -> list[Path]:
    """Write all notebooks of the edition into `folder`, which is created; return their paths.

    Raises
    ------
    FileExistsError
        If one of them exists, which may hold a student's work; then none is written.
    """
    made = {folder / path.name: edition_for(path, folder) for path in notebook_paths()}
    for path in filter(Path.exists, made):
        remedy = "Name another folder, or move that file away."
        raise FileExistsError(f"{path}: expected no such file yet, found a notebook. {remedy}")
    folder.mkdir(parents=True, exist_ok=True)
    for path, notebook in made.items():
        write_notebook(notebook, path)
    return [*made]


def edition_for(path: Path, folder: Path) -> NotebookNode:
    """Return the edition of a notebook, to be written into `folder`, from which it finds all."""
    made = edition(read_notebook(path), solution_link(path, folder))
    setup = next(cell for cell in made.cells if "setup" in cell_tags(cell))
    assert SEARCHED in setup.source, "the setup cell has changed; correct SEARCHED"
    setup.source = setup.source.replace(
        SEARCHED, SEARCHED_WITH_PROJECT.format(project=str(PROJECT))
    )
    return made


def solution_link(path: Path, folder: Path) -> str:
    """Return a link from `folder` to a notebook: to the file, or from outside to its repository."""
    folder = folder.resolve()
    if folder.is_relative_to(PROJECT):
        return Path(os.path.relpath(path, folder)).as_posix()
    return f"https://github.com/{stored_repository()}/blob/main/notebooks/{path.name}"


def _prepare_text(cell: NotebookNode, solution: str) -> None:
    if SOLUTION_TAG in cell_tags(cell):
        cell.source = f"**Your answer here.** ([The notebook's answer]({solution}))"
        return
    cell.source = without_answers(cell.source)
    if (statement := STATEMENT.match(cell.source)) and not statement[2]:
        cell.source += f"\n\n([Solution]({solution}))"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.tools.exercise_edition", description=__doc__
    )
    parser.add_argument("folder", type=Path, help="where to write the notebooks")
    folder = parser.parse_args(arguments).folder
    try:
        written = write_edition(folder)
    except OSError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{len(written)} notebooks in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
