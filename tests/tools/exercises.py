"""Find a notebook's exercises: a statement, the solution below it, and the check below that.

The statement is a markdown cell that starts with ``**Exercise N: title.**``; the next cell is the
code with the tag ``solution``, and the one after it the code with the tag ``check``. A check needs
nothing but the cells before it that import or implement, so that it runs in a moment. An open
exercise, ``**Exercise N (open): title.**``, is a statement alone.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from nbformat import NotebookNode

from tests.tools.folds import folds
from tests.tools.notebook_tools import cell_tags

SOLUTION_TAG, CHECK_TAG = "solution", "check"
DEFINITIONS = (ast.FunctionDef, ast.ClassDef)
STATEMENT = re.compile(r"\*\*Exercise (\d+)( \(open\))?: (.+?[.?!])\*\*")


@dataclass(frozen=True)
class Exercise:
    """An exercise and the position of its statement; its solution and its check come next."""

    number: int
    title: str
    statement: int

    @property
    def solution(self) -> int:
        return self.statement + 1

    @property
    def check(self) -> int:
        return self.statement + 2

    @property
    def name(self) -> str:
        return f"Exercise {self.number}: {self.title}"


def find_exercises(notebook: NotebookNode, with_open: bool = False) -> list[Exercise]:
    """Return the exercises of a notebook in their order: those with code, or the open ones, too."""
    found = []
    for position, cell in enumerate(notebook.cells):
        match = STATEMENT.match(cell.source) if cell.cell_type == "markdown" else None
        if match and (with_open or not match[2]):
            found.append(Exercise(int(match[1]), match[3].removesuffix("."), position))
    return found


def exercise_faults(notebook: NotebookNode) -> Iterator[str]:
    """Yield what keeps a notebook's exercises from becoming an edition."""
    exercises, every = find_exercises(notebook), find_exercises(notebook, with_open=True)
    if not 5 <= len(every) <= 6 or len(exercises) < 4 or len(exercises) == len(every):
        yield (
            f"the notebook has {len(exercises)} exercises with code and "
            f"{len(every) - len(exercises)} open; at least 4 and 1 are expected, 5 or 6 in all"
        )
    for exercise in exercises:
        if len(folds(notebook.cells[exercise.statement].source, "Hint")) != 1:
            yield f"{exercise.name}: the statement has not one fold with a hint"
    numbers = [exercise.number for exercise in every]
    if numbers != list(range(1, len(every) + 1)):
        yield f"the exercises are numbered {numbers}"
    for tag in (SOLUTION_TAG, CHECK_TAG):
        expected = {getattr(exercise, tag) for exercise in exercises}
        for position in sorted(expected ^ _tagged_code(notebook, tag)):
            yield f"cell {position + 1}: statement, 'solution' and 'check' must follow each other"
    for position in sorted(_tagged_code(notebook, SOLUTION_TAG)):
        cell = notebook.cells[position]
        if "implementation" not in cell_tags(cell):
            yield f"cell {position + 1} is a solution without the tag 'implementation'"
        tree = ast.parse(cell.source)
        if not list(_functions(tree)):
            yield f"cell {position + 1} is a solution that defines no function"
        for definition in tree.body:
            if isinstance(definition, DEFINITIONS) and not ast.get_docstring(definition):
                yield f"cell {position + 1}: {definition.name} has no docstring for its stub"


def _tagged_code(notebook: NotebookNode, tag: str) -> set[int]:
    """Return the positions of the code cells with a tag."""
    return {
        position
        for position, cell in enumerate(notebook.cells)
        if cell.cell_type == "code" and tag in cell_tags(cell)
    }


def stub(source: str, exercise: Exercise) -> str:
    """Return a solution's code with every function's body gone, but for its docstring."""
    lines = source.splitlines()
    for function in reversed(list(_functions(ast.parse(source)))):
        indent = " " * (function.col_offset + 4)
        name = exercise.name if exercise.name.endswith(("?", "!")) else f"{exercise.name}."
        message = f"{name} Write {function.name}, and run the cells from here on again."
        lines[_start(function) : function.end_lineno] = [
            f"{indent}# Exercise {exercise.number}: your code here, instead of the next lines.",
            f"{indent}raise NotImplementedError(",
            f"{indent}    {message!r}",
            f"{indent})",
        ]
    return "\n".join(lines)


def marked(source: str) -> str:
    """Return a solution's code with nbgrader's marks around every function's body."""
    lines = source.splitlines()
    for function in reversed(list(_functions(ast.parse(source)))):
        indent = " " * (function.col_offset + 4)
        lines.insert(function.end_lineno, f"{indent}### END SOLUTION")
        lines.insert(_start(function), f"{indent}### BEGIN SOLUTION")
    return "\n".join(lines)


def _start(function: ast.FunctionDef) -> int:
    """Return how many lines stand before a function's body, after its docstring."""
    first = function.body[0]
    return first.end_lineno if ast.get_docstring(function) else first.lineno - 1


def _functions(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    """Yield functions and methods in their order, without those inside functions."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node
        elif isinstance(node, ast.ClassDef):
            yield from (item for item in node.body if isinstance(item, ast.FunctionDef))
