"""Grading: right and wrong copies of a notebook, and files that are none."""

import copy
import csv
from pathlib import Path

import nbformat
import pytest

from tests.tools.exercises import find_exercises
from tests.tools.grade import main
from tests.tools.notebook_tools import NOTEBOOKS, cell_tags, read_notebook

NOTEBOOK = NOTEBOOKS / "03_xor_perceptron.ipynb"
SOLVED = read_notebook(NOTEBOOK)
EXERCISES = find_exercises(SOLVED)
FIRST, SECOND = (exercise.solution for exercise in EXERCISES[:2])
# What stands in the cell of exercise 1, and the reason for which it is wrong.
WRONG = {
    "stub": ("raise NotImplementedError('Exercise 1')", "not attempted"),
    "loop": ("while True: pass", "not done after 3 seconds: an endless loop?"),
    "exit": ("import os; os._exit(0)", "ended the process (exit code 0) before its check"),
    "sys_exit": ("import sys; sys.exit('bye')", "SystemExit: bye"),
    "syntax": ("def (", "SyntaxError"),
    "nothing": ("x = 1", "NameError"),
    "emptied": ("", "no cell with the id"),
}


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], list[str]]:
    """(file, exercise) -> points and reason, as the command writes them."""
    folder = tmp_path_factory.mktemp("submissions")
    for name, (source, _) in WRONG.items():
        _write(folder / f"{name}.ipynb", {FIRST: source})
    _write(folder / "right.ipynb", {})
    tampered = {i: "pass" for i, c in enumerate(SOLVED.cells) if "check" in cell_tags(c)}
    _write(folder / "tampered.ipynb", tampered | {SECOND: "x = 1"})
    _write(folder / "colab.ipynb", {SECOND: "x = 1"}, ids_in_metadata=True)
    (folder / "text.ipynb").write_text("no notebook")
    nbformat.write(nbformat.v4.new_notebook(), folder / "other.ipynb")
    (folder / ".ipynb_checkpoints").mkdir()
    _write(folder / ".ipynb_checkpoints" / "right.ipynb", {})
    assert main([str(folder), "--seconds", "3", "--csv", str(folder / "grades.csv")]) == 0
    with (folder / "grades.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len({(row["submission"], row["exercise"]) for row in rows})
    return {
        (Path(row["submission"]).stem, int(row["exercise"])): [row["points"], row["reason"]]
        for row in rows
    }


def _write(path: Path, changes: dict[int, str], ids_in_metadata: bool = False) -> None:
    made = copy.deepcopy(SOLVED)
    for position, source in changes.items():
        made.cells[position].source = source
    if ids_in_metadata:
        made.nbformat_minor = 0
        for cell in made.cells:
            cell.metadata["id"] = cell.pop("id")
    nbformat.write(made, path)


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_costs_one_point_and_says_why(graded: dict, name: str) -> None:
    points, reason = graded[name, 1]
    assert points == "0" and WRONG[name][1] in reason
    assert all(graded[name, e.number] == ["1", ""] for e in EXERCISES[1:])


def test_a_right_copy_gets_all_points(graded: dict) -> None:
    assert all(graded["right", e.number] == ["1", ""] for e in EXERCISES)


@pytest.mark.parametrize("name", ["tampered", "colab"])
def test_the_projects_check_counts(graded: dict, name: str) -> None:
    points, reason = graded[name, 2]
    assert points == "0" and "NameError" in reason
    assert ("The copy's check was changed" in reason) == (name == "tampered")
    assert graded[name, 1][0] == graded[name, 3][0] == "1"


def test_what_is_no_copy_of_a_notebook_gets_a_line(graded: dict) -> None:
    assert (
        graded["text", 0][0] == "0"
        and "expected a copy of one of the notebooks, found" in graded["text", 0][1]
    )
    assert graded["other", 0][0] == "0" and "no cell of an exercise" in graded["other", 0][1]
    assert not any(name.startswith("checkpoint") for name, _ in graded)


def test_a_file_that_is_missing_is_named(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["nowhere.ipynb"])
    assert "no such file or folder: nowhere.ipynb" in capsys.readouterr().err
