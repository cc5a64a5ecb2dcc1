"""The edition with exercises: what is taken out, what stays, and where a student gets stuck."""

import ast
from pathlib import Path

import pytest
from nbformat import NotebookNode

from tests.collection.notebook_hygiene import link_faults
from tests.tools.execute_notebooks import CELL_SECONDS, NotebookFailure, run_notebook
from tests.tools.exercise_edition import main, solution_link
from tests.tools.exercises import find_exercises
from tests.tools.notebook_tools import (
    PROJECT,
    cell_tags,
    notebook_paths,
    read_notebook,
    stored_repository,
)

FIRST = notebook_paths()[0]
each_notebook = pytest.mark.parametrize("path", notebook_paths(), ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The edition, in a folder outside the project."""
    made = tmp_path_factory.mktemp("course") / "exercises"
    assert main([str(made)]) == 0
    return made


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """Return the code cells but for the setup cell, in which the edition names the project."""
    return [c for c in notebook.cells if c.cell_type == "code" and "setup" not in cell_tags(c)]


def functions(source: str) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]


@each_notebook
def test_only_solutions_answers_and_outputs_are_taken_out(path: Path, folder: Path) -> None:
    solved, made = read_notebook(path), read_notebook(folder / path.name)
    solutions = {c.id: c.source for c in solved.cells if "solution" in cell_tags(c)}
    code = [solutions.get(cell.id, cell.source) for cell in code_cells(made)]
    assert code == [cell.source for cell in code_cells(solved)]
    assert all(not cell.outputs and not cell.execution_count for cell in code_cells(made))
    kept = {cell.id: cell.source for cell in made.cells}
    for cell in solved.cells[1:]:
        if cell.cell_type == "markdown" and cell.id not in solutions:
            assert kept[cell.id].startswith(cell.source)
    for cell in made.cells:
        assert not any(solution in cell.source for solution in solutions.values())
        if cell.id in solutions and cell.cell_type == "markdown":
            assert cell.source.startswith("**Your answer here.**")
    assert "colab" not in made.cells[0].source.lower()


@each_notebook
def test_a_stub_has_the_docstrings_and_no_other_statement(path: Path, folder: Path) -> None:
    solved, made = read_notebook(path), read_notebook(folder / path.name)
    stubs = {cell.id: cell.source for cell in made.cells}
    for solution in [solved.cells[exercise.solution] for exercise in find_exercises(solved)]:
        docstrings = {f.name: ast.get_docstring(f) for f in functions(solution.source)}
        for stub in functions(stubs[solution.id]):
            assert ast.get_docstring(stub) == docstrings[stub.name]
            assert len(stub.body) <= 2 and isinstance(stub.body[-1], ast.Raise)


@each_notebook
def test_above_each_check_stands_what_it_shows(path: Path, folder: Path) -> None:
    solved, made = read_notebook(path), read_notebook(folder / path.name)
    positions = {cell.id: i for i, cell in enumerate(made.cells)}
    for exercise in find_exercises(solved):
        check = solved.cells[exercise.check]
        expected = made.cells[positions[check.id] - 1]
        assert expected.cell_type == "markdown"
        for output in check.outputs:
            data = output.get("data", {})
            text = output.get("text") or data.get("text/markdown") or data["text/plain"]
            shown = data.get("image/png", text).replace("\n", "")
            assert shown in expected.source.replace("\n", "")


@each_notebook
def test_links_are_alive(path: Path, folder: Path) -> None:
    made = folder / path.name
    texts = [c.source for c in read_notebook(made).cells if c.cell_type == "markdown"]
    assert [fault for text in texts for fault in link_faults(text, made)] == []
    address = f"https://github.com/{stored_repository()}/blob/main/notebooks/{path.name}"
    assert sum(address in text for text in texts) >= 4
    assert solution_link(path, PROJECT / "my" / "class") == f"../../notebooks/{path.name}"


def test_a_notebook_runs_to_its_first_exercise_and_says_which(folder: Path) -> None:
    exercise = find_exercises(read_notebook(FIRST))[0]
    with pytest.raises(NotebookFailure, match=rf"NotImplementedError: {exercise.name}\. Write "):
        run_notebook(folder / FIRST.name, CELL_SECONDS)


def test_no_notebook_is_ever_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work = tmp_path / notebook_paths()[-1].name  # a student's
    work.write_text("solved", encoding="utf-8")
    assert main([str(tmp_path)]) == 1
    assert work.read_text(encoding="utf-8") == "solved" and list(tmp_path.iterdir()) == [work]
    message = capsys.readouterr().err
    assert f"{work}: expected no such file yet, found a notebook. Name another folder" in message
