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

    def __str__(self) -> str:
        return f"{self.path.stem}-{self.exercise.number}"


@cache
def notebook(path: Path) -> NotebookNode:
    return read_notebook(path)


@cache
def wrong_answers(path: Path) -> dict[int, dict[str, tuple[str, str]]]:
    """Exercise -> mistake -> what is right in the solution, and what is written instead."""
    parsed = tomllib.loads((WRONG_ANSWERS / f"{path.stem}.toml").read_text(encoding="utf-8"))
    return {int(number): mistakes for number, mistakes in parsed["exercise"].items()}


CASES = [Case(path, e) for path in notebook_paths() for e in find_exercises(notebook(path))]
MISTAKES = [
    pytest.param(case, *texts, id=f"{case}-{mistake.replace(' ', '-')}")
    for case in CASES
    for mistake, texts in wrong_answers(case.path).get(case.exercise.number, {}).items()
]


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


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_solution_passes_its_check(case: Case) -> None:
    run_check(case, solution_of(case))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_stub_names_its_exercise(case: Case) -> None:
    name = re.escape(case.exercise.name)
    with pytest.raises(NotImplementedError, match=rf"^{name}(\.|(?<=\?)) Write \w+, and run"):
        run_check(case, stub(solution_of(case), case.exercise))


@pytest.mark.parametrize(("case", "right", "wrong"), MISTAKES)
def test_a_plausible_mistake_fails_the_check(case: Case, right: str, wrong: str) -> None:
    solution = solution_of(case)
    assert solution.count(right) == 1, "the solution has changed"
    with pytest.raises(AssertionError):  # an answer's own exception is put into words, too
        run_check(case, solution.replace(right, wrong))


@pytest.mark.parametrize("path", notebook_paths(), ids=lambda path: path.stem)
def test_each_exercise_has_two_different_mistakes_at_least(path: Path) -> None:
    found = wrong_answers(path)
    assert [*found] == [exercise.number for exercise in find_exercises(notebook(path))]
    assert all(len({*map(tuple, mistakes.values())}) >= 2 for mistakes in found.values())
