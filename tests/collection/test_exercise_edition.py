"""The edition with exercises: what is taken out, what stays, and where a student gets stuck."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from nbformat import NotebookNode

from tests.collection.notebook_hygiene import link_faults
from tests.collection.trial_notebook import lesson
from tests.tools.execute_notebooks import CELL_SECONDS, NotebookFailure, run_notebook
from tests.tools.exercise_edition import edition, main, solution_link
from tests.tools.exercises import find_exercises
from tests.tools.folds import folds, without_folds
from tests.tools.notebook_tools import (
    LEFT_OUT_TAGS,
    PROJECT,
    SECOND_EDITION,
    cell_tags,
    notebook_paths,
    read_notebook,
    stored_report,
    stored_repository,
)

FIRST = notebook_paths()[0]
each_notebook = pytest.mark.parametrize("path", notebook_paths(), ids=lambda path: path.stem)
each_of_second_edition = pytest.mark.parametrize(
    "path",
    [path for path in notebook_paths() if path.name[:2] in SECOND_EDITION],
    ids=lambda path: path.stem,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The edition, in a folder outside the project."""
    made = tmp_path_factory.mktemp("course") / "exercises"
    assert main([str(made)]) == 0
    return made


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """Return the code cells without the setup cell, in which the edition names the project."""
    others = LEFT_OUT_TAGS | {"setup"}
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [cell for cell in code if others.isdisjoint(cell_tags(cell))]


def secrets(solved: NotebookNode) -> Iterator[str]:
    """Yield every text of a notebook that gives away an answer."""
    for cell in solved.cells:
        if cell.cell_type == "markdown":
            yield from [cell.source] if "solution" in cell_tags(cell) else ()
            yield from folds(cell.source, "Answer")
    for claim in stored_report(solved)["claims"]:
        yield f"{claim['verdict']}. {claim['evidence']}"


def sentences(text: str) -> Iterator[str]:
    """Yield the parts of a text that say something, without formulas on lines of their own."""
    prose = re.sub(r"\$\$.*?\$\$|</?\w+>", "\n\n", text, flags=re.DOTALL)
    ends = r"(?<=[.!?:;])[\s*_)”\"]+|\n\s*(?:\n|[-*+] |\d+\. )|\|"
    yield from (part for part in re.split(ends, prose) if len(part.strip()) >= 25)


def letters(text: str) -> str:
    """Return a text as it reads in a comment, in a string over two lines, in bold: the same."""
    return re.sub(r"\\n|[\W_]+", "", text.casefold())


def leaks(solved: NotebookNode, made: NotebookNode) -> list[str]:
    """Return the sentences of answers, takeaways and verdicts that an edition still has."""
    kept = "|".join(letters(cell.source) for cell in made.cells)
    said = [sentence for text in secrets(solved) for sentence in sentences(text)]
    assert said
    return [sentence for sentence in said if letters(sentence) in kept]


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
        if cell.cell_type != "markdown" or cell.source.startswith("## Appendix"):
            continue
        if cell.id in kept and cell.id not in solutions:
            for line in without_folds(cell.source).splitlines():
                assert line in kept[cell.id].splitlines()
    for cell in made.cells:
        assert not any(solution in cell.source for solution in solutions.values())
        if cell.id in solutions and cell.cell_type == "markdown":
            assert cell.source.startswith("**Your answer here.**")
    assert "colab" not in made.cells[0].source.lower()


@each_of_second_edition
def test_no_sentence_of_an_answer_survives(path: Path, folder: Path) -> None:
    assert leaks(read_notebook(path), read_notebook(folder / path.name)) == []


def test_answers_proofs_and_the_appendix_are_taken_out_of_a_lesson() -> None:
    solved = lesson()
    made = edition(solved, "solved.ipynb")
    assert leaks(solved, made) == []
    assert LEFT_OUT_TAGS.isdisjoint(tag for cell in made.cells for tag in cell_tags(cell))
    text = "\n".join(cell.source for cell in made.cells)
    assert text.count("*Your answer:*") == 4 and text.count("**Your answer here.**") == 1
    assert text.count("<summary>Hint</summary>") == 4 and "<summary>Derivation</summary>" in text
    appendix = "## Appendix: proofs and the reports' claims\n\n"
    assert made.cells[-1].source.startswith(appendix) and "(solved.ipynb#App" in text


@pytest.mark.parametrize(
    "leak",
    [
        "# The second square grows\n# by a pixel.",
        'title = (\n    "The second square"\n    " grows by a pixel"\n)',
        "x = 'so:\\nthe second\\nsquare grows by a pixel'",
        "| question | it **has fewer** pixels, $3^2$, than the other in each of 4 pictures |",
        "On the left, it depends on where both of them begin",
        "1. Too short: the answer.\n2. the *median* of\n   all `widths` is 3",
    ],
)
def test_a_leak_is_seen(leak: str) -> None:
    solved = lesson()
    solved.cells[6].source += f"\n{leak}"
    assert len(leaks(solved, edition(solved, "solved.ipynb"))) == 1


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
