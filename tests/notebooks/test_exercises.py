"""The exercises: solutions pass their checks, plausible mistakes and stubs do not."""

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import pytest
from nbformat import NotebookNode

from tests.tools.exercises import Exercise, find_exercises, stub
from tests.tools.notebook_tools import (
    execute_cell,
    execute_cells,
    is_taught,
    notebook_paths,
    read_notebook,
)

WRONG_ANSWERS = Path(__file__).with_name("wrong_answers")


class Case(NamedTuple):
    """An exercise of a notebook."""

    path: Path
    exercise: Exercise


@cache
def notebook(path: Path) -> NotebookNode:
    return read_notebook(path)


@cache
def wrong_answers(path: Path) -> list[dict]:
    """The mistakes for one notebook: exercise, mistake, and the texts `right` and `wrong`."""
    text = (WRONG_ANSWERS / f"{path.stem}.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)["wrong"]


CASES = [Case(path, e) for path in notebook_paths() for e in find_exercises(notebook(path))]
MISTAKES = [
    (case, wrong)
    for case in CASES
    for wrong in wrong_answers(case.path)
    if wrong["exercise"] == case.exercise.number
]


def name_of(value: object) -> str | None:
    if isinstance(value, Case):
        return f"{value.path.stem}-{value.exercise.number}"
    return value["mistake"].replace(" ", "-") if isinstance(value, dict) else None


@pytest.fixture(autouse=True)
def figures_are_not_shown() -> None:
    plt.switch_backend("Agg")


def run_check(case: Case, solution: str) -> None:
    """Run an exercise's check with another solution, after what the notebook teaches before it."""
    path, exercise = case
    cells = [cell.copy() for cell in notebook(path).cells[: exercise.check] if is_taught(cell)]
    assert cells[-1].source == notebook(path).cells[exercise.solution].source
    cells[-1].source = solution
    namespace = execute_cells(cells, path.stem)
    try:
        execute_cell(notebook(path).cells[exercise.check], namespace)
    except (NameError, SyntaxError) as error:
        pytest.fail(f"the check needs more than the cells that teach: {error}")
    finally:
        plt.close("all")


def solution_of(case: Case) -> str:
    return notebook(case.path).cells[case.exercise.solution].source


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_the_solution_passes_its_check(case: Case) -> None:
    run_check(case, solution_of(case))


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_the_stub_names_its_exercise(case: Case) -> None:
    with pytest.raises(
        NotImplementedError, match=rf"^{re.escape(case.exercise.name)}\. Write \w+, and run"
    ):
        run_check(case, stub(solution_of(case), case.exercise))


@pytest.mark.parametrize(("case", "wrong"), MISTAKES, ids=name_of)
def test_a_plausible_mistake_fails_the_check(case: Case, wrong: dict) -> None:
    solution = solution_of(case)
    assert solution.count(wrong["right"]) == 1, "the solution has changed"
    with pytest.raises((AssertionError, ValueError, ArithmeticError, IndexError, RuntimeError)):
        run_check(case, solution.replace(wrong["right"], wrong["wrong"]))


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_two_mistakes_at_least_are_tried(case: Case) -> None:
    tried = [w for w in wrong_answers(case.path) if w["exercise"] == case.exercise.number]
    assert len({(w["right"], w["wrong"]) for w in tried}) >= 2


@pytest.mark.parametrize("path", notebook_paths(), ids=lambda path: path.stem)
def test_every_mistake_belongs_to_an_exercise(path: Path) -> None:
    numbers = {exercise.number for exercise in find_exercises(notebook(path))}
    assert {wrong["exercise"] for wrong in wrong_answers(path)} == numbers
