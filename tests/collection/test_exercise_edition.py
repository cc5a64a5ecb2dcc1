"""The edition with exercises: what is taken out, what stays, and where a student gets stuck."""

import re
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output

from tests.collection.notebook_hygiene import link_faults
from tests.collection.trial_notebook import good_notebook
from tests.tools.execute_notebooks import NotebookFailure, run_notebook
from tests.tools.exercise_edition import edition, main, solution_link
from tests.tools.exercises import exercise_faults, find_exercises
from tests.tools.notebook_tools import NOTEBOOKS, PROJECT, cell_tags, notebook_paths, read_notebook
from tests.tools.stamp_repository import stored_repository

SOLUTION = '''import math


class Power:
    """A power of numbers."""

    def __init__(self, exponent):
        # Kept as it is.
        self.exponent = exponent

    def of(self, x):
        """Return the power of x.

        It is a number.
        """
        # A loop would do, too.
        result = x**self.exponent

        return result


LIMIT = 3


def cube(x):
    """The third power."""
    return Power(LIMIT).of(x)
'''


def exercise_cells(number: int, title: str = "The cube's root") -> list[NotebookNode]:
    figure = new_output("display_data", data={"image/png": "aGVs\nbG8=\n", "text/plain": "<F>"})
    table = new_output("display_data", data={"text/markdown": "| a |", "text/plain": "<M>"})
    text = new_output("stream", name="stdout", text="27\n")
    return [
        new_markdown_cell(f"**Exercise {number}: {title}.** Write it.\n\n*Hint.* Think."),
        new_code_cell(SOLUTION, metadata={"tags": ["implementation", "solution"]}),
        new_code_cell(
            "print(cube(3))", metadata={"tags": ["check"]}, outputs=[text, table, figure]
        ),
    ]


@pytest.fixture
def book() -> NotebookNode:
    """The trial notebook with three exercises and an answer."""
    made = good_notebook()
    cells = [cell for number in (1, 2, 3) for cell in exercise_cells(number)]
    answer = new_markdown_cell("**Answer.** It is 27.", metadata={"tags": ["solution"]})
    made.cells[6:6] = [*cells, answer]
    return made


def test_solutions_become_stubs_that_name_the_exercise(book: NotebookNode) -> None:
    made = edition(book, "solved.ipynb")
    stub = made.cells[7].source
    assert stub.startswith('import math\n\n\nclass Power:\n    """A power of numbers."""\n\n')
    assert "        It is a number.\n" in stub and "LIMIT = 3\n" in stub
    for part in ("Kept as it is", "self.exponent", "A loop", "result", "return", "Power(LIMIT)"):
        assert part not in stub
    scope: dict = {}
    exec(stub, scope)
    with pytest.raises(NotImplementedError, match=r"^Exercise 1: The cube's root\. Write cube, "):
        scope["cube"](3)
    messages = [line for line in stub.splitlines() if "Write" in line]
    assert [len(m) - len(m.lstrip()) for m in messages] == [12, 12, 8]


def test_above_a_check_stands_what_it_printed_and_drew(book: NotebookNode) -> None:
    made = edition(book, "solved.ipynb")
    expected, check = made.cells[8], made.cells[9]
    assert check.source == "print(cube(3))" and check.outputs == []
    assert expected.cell_type == "markdown"
    for part in ("```text\n27\n```", "\n| a |", "](data:image/png;base64,aGVsbG8=)"):
        assert part in expected.source


def test_answers_are_taken_out_and_solutions_linked(book: NotebookNode) -> None:
    made = edition(book, "solved.ipynb")
    texts = [cell.source for cell in made.cells]
    assert "**Your answer here.** ([The notebook's answer](solved.ipynb#See-squares))" in texts
    assert not any("It is 27" in text for text in texts)
    statement = made.cells[6].source
    assert "*Hint.* Think." in statement and statement.endswith(
        "([Solution](solved.ipynb#See-squares))"
    )
    assert "colab" not in made.cells[0].source.lower() and "(solved.ipynb)" in made.cells[0].source


def test_nothing_else_is_changed(book: NotebookNode) -> None:
    before = nbformat.writes(book)
    made = edition(book, "solved.ipynb")
    assert nbformat.writes(book) == before
    nbformat.validate(made)
    kept = {cell.id: cell for cell in made.cells}
    for cell in book.cells[1:]:
        if "solution" not in cell_tags(cell) and not cell.source.startswith("**Exercise"):
            assert kept[cell.id].source == cell.source
        if cell.cell_type == "code":
            assert kept[cell.id].outputs == [] and kept[cell.id].execution_count is None


def test_a_notebook_with_three_exercises_has_no_faults(book: NotebookNode) -> None:
    assert list(exercise_faults(book)) == []


def drop(position: int):
    return lambda book: book.cells.pop(position)


def retag(position: int, *tags: str):
    return lambda book: book.cells[position].metadata.update(tags=list(tags))


def change(position: int, source: str):
    return lambda book: book.cells[position].update(source=source)


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (lambda book: book.cells.__delitem__(slice(6, 9)), "the notebook has 2 exercises"),
        (change(9, "**Exercise 1: Again.**"), r"the exercises are numbered \[1, 1, 3\]"),
        (change(9, "Write it."), "cell 11: statement, 'solution' and 'check' must follow"),
        (drop(7), "cell 8: statement, 'solution' and 'check' must follow"),
        (retag(8), "cell 9: statement, 'solution' and 'check' must follow"),
        (retag(7, "solution"), "cell 8 is a solution without the tag 'implementation'"),
        (change(7, "x = 1"), "cell 8 is a solution that defines no function"),
        (change(7, "def f():\n    return 1"), "cell 8: f has no docstring"),
    ],
)
def test_a_fault_is_found(book: NotebookNode, damage, fault: str) -> None:
    damage(book)
    assert re.search(fault, "\n".join(exercise_faults(book)))


# ---- the project's notebooks


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The edition, in a folder outside the project."""
    made = tmp_path_factory.mktemp("course") / "exercises"
    assert main([str(made)]) == 0
    return made


@pytest.mark.parametrize("path", notebook_paths(), ids=lambda path: path.stem)
def test_the_notebooks_have_exercises(path: Path) -> None:
    assert list(exercise_faults(read_notebook(path))) == []


@pytest.mark.parametrize("path", notebook_paths(), ids=lambda path: path.stem)
def test_a_notebook_runs_to_its_first_exercise_and_says_which(path: Path, folder: Path) -> None:
    first = find_exercises(read_notebook(path))[0]
    with pytest.raises(NotebookFailure) as caught:
        run_notebook(folder / path.name, timeout=300)
    message = str(caught.value)
    assert f"NotImplementedError: {first.name}. Write " in message.splitlines()[-1]
    check = read_notebook(folder / path.name).cells[first.check + 1]  # the expected comes between
    assert "check" in cell_tags(check) and check.source.strip() in message


@pytest.mark.parametrize("path", notebook_paths(), ids=lambda path: path.stem)
def test_with_the_solutions_put_back_the_code_is_the_notebooks(path: Path, folder: Path) -> None:
    solved, made = read_notebook(path), read_notebook(folder / path.name)
    solutions = {c.id: c.source for c in solved.cells if "solution" in cell_tags(c)}
    code = [solutions.get(c.id, c.source) for c in made.cells if c.cell_type == "code"]
    assert code[1:] == [c.source for c in solved.cells if c.cell_type == "code"][1:]
    for cell in made.cells:
        assert not any(solution in cell.source for solution in solutions.values())


@pytest.mark.parametrize("path", notebook_paths(), ids=lambda path: path.stem)
def test_links_within_the_edition_are_alive(path: Path, folder: Path) -> None:
    made = folder / path.name
    texts = [c.source for c in read_notebook(made).cells if c.cell_type == "markdown"]
    assert [fault for text in texts for fault in link_faults(text, made)] == []
    address = f"https://github.com/{stored_repository()}/blob/main/notebooks/{path.name}"
    assert sum(address in text for text in texts) >= 4


def test_inside_the_project_solutions_are_linked_by_their_file() -> None:
    path = notebook_paths()[0]
    assert solution_link(path, PROJECT / "exercises") == f"../notebooks/{path.name}"
    assert solution_link(path, PROJECT / "my" / "class") == f"../../notebooks/{path.name}"


def test_a_students_work_is_never_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work = tmp_path / notebook_paths()[-1].name
    work.write_text("solved", encoding="utf-8")
    assert main([str(tmp_path)]) == 1
    assert work.read_text(encoding="utf-8") == "solved" and list(tmp_path.iterdir()) == [work]
    message = capsys.readouterr().err
    assert f"{work}: expected no such file yet, found a notebook. Name another folder" in message


def test_the_notebooks_themselves_are_not_overwritten() -> None:
    before = [path.read_bytes() for path in notebook_paths()]
    assert main([str(NOTEBOOKS)]) == 1
    assert [path.read_bytes() for path in notebook_paths()] == before
