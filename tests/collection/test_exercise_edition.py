"""The edition with exercises: what is taken out, what stays, and where a student gets stuck."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

from tests.collection.notebook_hygiene import BADGE, MACHINE_PATH, link_faults
from tests.collection.trial_notebook import lesson
from tests.tools.execute_notebooks import CELL_SECONDS, NotebookFailure, run_notebook
from tests.tools.exercise_edition import edition, graded_edition, main
from tests.tools.exercises import SOLUTION_TAG, find_exercises
from tests.tools.folds import folds, without_folds
from tests.tools.notebook_tools import (
    EXERCISES,
    LEFT_OUT_TAGS,
    cell_tags,
    notebook_paths,
    read_notebook,
    stored_report,
    stored_repository,
)

FIRST = notebook_paths()[0]
each_notebook = pytest.mark.parametrize("path", notebook_paths(), ids=lambda path: path.stem)


@each_notebook
def test_what_is_stored_is_what_the_command_makes_small_and_opens_in_colab(path: Path) -> None:
    nbformat.validate(made := read_notebook(stored := EXERCISES / path.name))
    same = made == edition(read_notebook(path), path.name)
    assert same, "run `python -m tests.tools.exercise_edition`"
    assert sorted(p.name for p in EXERCISES.glob("*.*")) == [path.name for path in notebook_paths()]
    assert stored.stat().st_size < 150_000
    assert not any(MACHINE_PATH.search(cell.source) for cell in made.cells)
    opened = BADGE.findall(made.cells[0].source)
    assert opened == [(stored_repository(), f"notebooks/exercises/{path.name}")]


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """Return the code cells that the edition keeps."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [cell for cell in code if LEFT_OUT_TAGS.isdisjoint(cell_tags(cell))]


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


def terms(*trees: ast.AST) -> set[str]:
    """Return what code computes: its expressions, without names and lists, all written alike."""
    small = ast.Name | ast.Attribute | ast.Constant | ast.Tuple | ast.List | ast.Starred
    nodes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.expr)]
    return {ast.unparse(node) for node in nodes if not isinstance(node, small)}


def repetitions(solved: NotebookNode, made: NotebookNode) -> Iterator[str]:
    """Yield the cells of an edition that repeat half of what a solution computes, or a line."""
    for exercise in find_exercises(solved):
        written = functions(solved.cells[exercise.solution].source)
        body = [s for f in written for s in f.body[bool(ast.get_docstring(f)) :]]
        computed = {term for term in terms(*body) if len(term) >= 8}
        lines = [letters(line) for s in body for line in ast.unparse(s).splitlines()]
        for cell in made.cells:
            repeated = any(len(li) >= 20 and li in letters(cell.source) for li in lines)
            if cell.cell_type == "code":
                again = computed & terms(ast.parse(cell.source))
                repeated = len(again) >= max(len(computed) / 2, 1)
            yield from [f"{exercise.name}: {cell.source}"] if repeated else []


@each_notebook
def test_only_solutions_answers_and_outputs_are_taken_out(path: Path) -> None:
    solved, made = read_notebook(path), read_notebook(EXERCISES / path.name)
    solutions = {c.id: c.source for c in solved.cells if SOLUTION_TAG in cell_tags(c)}
    code = {cell.id: solutions.get(cell.id, cell.source) for cell in code_cells(made)}
    for exercise in find_exercises(solved, with_open=True):
        statement = solved.cells[exercise.statement]
        if "(open)" in statement.source:
            assert code.pop(f"{statement.id}-yours") == "# Your experiments"
    assert [*code.values()] == [cell.source for cell in code_cells(solved)]
    assert all(not cell.outputs and not cell.execution_count for cell in code_cells(made))
    kept = {cell.id: cell.source for cell in made.cells}
    for cell in solved.cells[1:]:
        if cell.cell_type != "markdown" or cell.source.startswith("## Appendix"):
            continue
        if cell.id in kept and cell.id not in solutions:
            for line in without_folds(cell.source).splitlines():
                assert line in kept[cell.id].splitlines()


@each_notebook
def test_no_sentence_of_an_answer_and_no_solution_survives(path: Path) -> None:
    solved, made = read_notebook(path), read_notebook(EXERCISES / path.name)
    assert leaks(solved, made) == []
    assert [*repetitions(solved, made)] == []


def test_answers_proofs_and_the_appendix_are_taken_out_of_a_lesson() -> None:
    solved = lesson()
    made = edition(solved, "01_trial.ipynb")
    assert leaks(solved, made) == []
    assert LEFT_OUT_TAGS.isdisjoint(tag for cell in made.cells for tag in cell_tags(cell))
    text = "\n".join(cell.source for cell in made.cells)
    assert text.count("*Your answer:*") == 4 and text.count("**Your answer here.**") == 1
    assert text.count("<summary>Hint</summary>") == 4 and "<summary>Derivation</summary>" in text
    appendix = "## Appendix: proofs and the reports' claims\n\n"
    assert made.cells[-1].source.startswith(appendix) and text.count("notebooks/01_trial") == 2


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
    assert len(leaks(solved, edition(solved, "01_trial.ipynb"))) == 1


@pytest.mark.parametrize(
    ("place", "repeated"),
    [
        ("widths = [3", "half = sum(range(0, widths[-1], 2)) / len(widths)"),
        ("assert add_1", "assert sum(range(0, widths[-1], 2)) == 2"),
        ("**Exercise 5", "Try `return sum(range(0, widths[-1], 2))`."),
    ],
)
def test_a_repeated_solution_is_seen(place: str, repeated: str) -> None:
    solved = lesson()
    solution = solved.cells[find_exercises(solved)[0].solution]
    solution.source = solution.source.replace("x + 1", "sum(range(0, widths[-1], 2))")
    assert [*repetitions(solved, edition(solved, "01_trial.ipynb"))] == []
    (cell,) = [cell for cell in solved.cells if cell.source.startswith(place)]
    cell.source += f"\n{repeated}"
    assert len([*repetitions(solved, edition(solved, "01_trial.ipynb"))]) == 1


def test_for_nbgrader_a_check_counts_and_the_solution_is_restored() -> None:
    solved = lesson()
    graded = graded_edition(solved, "01_trial.ipynb")
    assert leaks(solved, graded) == []
    marks = [cell.metadata.nbgrader for cell in graded.cells]
    assert len({mark.grade_id for mark in marks}) == len(marks)
    assert [mark.points for mark in marks if mark.grade] == 4 * [1, 0]
    assert all(mark.locked is not mark.solution for mark in marks)
    code = [cell for cell in graded.cells if cell.cell_type == "code"]
    jobs = [(cell_tags(cell) or ["restored"])[0] for cell in code]
    taught, of_exercise = ["setup", "imports"], ["implementation", "check", "restored"]
    assert jobs == [*taught, "implementation", *4 * of_exercise]
    for e, cell, restored in zip(find_exercises(solved), code[3::3], code[5::3], strict=True):
        assert "    ### BEGIN SOLUTION\n    return x + " in cell.source
        assert f"TESTS\n{solved.cells[e.solution].source}\n###" in restored.source


@each_notebook
def test_a_stub_has_the_docstrings_and_no_other_statement(path: Path) -> None:
    solved, made = read_notebook(path), read_notebook(EXERCISES / path.name)
    stubs = {cell.id: cell.source for cell in made.cells}
    for solution in [solved.cells[exercise.solution] for exercise in find_exercises(solved)]:
        docstrings = {f.name: ast.get_docstring(f) for f in functions(solution.source)}
        for stub in functions(stubs[solution.id]):
            assert ast.get_docstring(stub) == docstrings[stub.name]
            assert len(stub.body) <= 2 and isinstance(stub.body[-1], ast.Raise)


@each_notebook
def test_above_each_check_stands_what_it_shows(path: Path) -> None:
    solved, made = read_notebook(path), read_notebook(EXERCISES / path.name)
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
def test_links_are_alive_and_one_leads_to_the_solved_notebook(path: Path) -> None:
    made = EXERCISES / path.name
    texts = [c.source for c in read_notebook(made).cells if c.cell_type == "markdown"]
    assert [fault for text in texts for fault in link_faults(text, made)] == []
    address = f"https://github.com/{stored_repository()}/blob/main/notebooks/{path.name}"
    assert [i for i, text in enumerate(texts) if address in text] == [0]


def test_a_notebook_runs_to_its_first_exercise_and_says_which() -> None:
    exercise = find_exercises(read_notebook(FIRST))[0]
    with pytest.raises(NotebookFailure, match=rf"NotImplementedError: {exercise.name}\. Write "):
        run_notebook(EXERCISES / FIRST.name, CELL_SECONDS)


@pytest.mark.parametrize("option", [[], ["--nbgrader"]])
def test_no_notebook_is_ever_overwritten_in_a_folder_that_is_named(
    option: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*option, str(tmp_path)]) == 0
    work = sorted(tmp_path.rglob("*.ipynb"))[-1]  # a student's
    work.write_text("solved")
    assert main([*option, str(tmp_path)]) == 1 and work.read_text() == "solved"
    assert "expected no such file yet, found a notebook. Name another" in capsys.readouterr().err
