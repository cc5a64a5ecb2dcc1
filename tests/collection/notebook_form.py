"""The form of the second edition, as design.md states it: a lesson, with the proof behind it.

`form_faults` says what in a stored notebook does not keep to it. A fault is a sentence.
"""

import ast
import base64
import re
from collections.abc import Iterator

from nbformat import NotebookNode

from helpers.reporting import VERDICTS
from tests.tools.execute_notebooks import INTERACTIVE_TAG
from tests.tools.exercises import CHECK_TAG, SOLUTION_TAG
from tests.tools.folds import fold_faults, folds, without_folds
from tests.tools.notebook_tools import (
    APPENDIX,
    COLLAPSED_TAGS,
    LEFT_OUT_TAGS,
    StoredNotebook,
    cell_tags,
    code_lines,
    headings,
    stored_report,
)

JOB_TAGS = COLLAPSED_TAGS | {"implementation", "experiment", "figure", INTERACTIVE_TAG, CHECK_TAG}
# The shape: what a reader has to scroll past.
MOST = {
    "cells before the appendix": 75,
    "lines of code on show": 400,
    "code cells on show without output": 20,
    "lines of code on show before the first picture": 15,
}
QUIZ = "Right or wrong?"
LAST_SECTIONS = (QUIZ, "Where to go next", APPENDIX)  # how their headings begin
CLAIMS_ASKED = range(4, 7)  # in the quiz
PROSE = re.compile(r"\*\*(?:Answer|Takeaway)\b")
DIAGRAM = re.compile(r"\bdraw_(?:network|graph)\(")
ASSERTION = re.compile(r"^\s*assert\b|\bassert_\w+\(", re.MULTILINE)
STORED_PICTURE = re.compile(r"!\[[^\]]*\]\((?!https?://)")


def form_faults(book: StoredNotebook) -> Iterator[str]:
    """Yield what does not keep to the form."""
    for check in CHECKS:
        yield from check(book)


def shape(book: StoredNotebook) -> dict[str, int]:
    """Return what `MOST` limits, counted without blank lines and without empty cells."""
    code = [cell for _, cell in book.cells("code") if code_lines(cell)]
    shown = [c for c in code if not c.metadata.get("jupyter", {}).get("source_hidden")]
    before = 0
    for cell in book.node.cells:
        if _is_picture(cell):
            break
        before += len(code_lines(cell)) if cell in shown else 0
    lines, silent = sum(len(code_lines(c)) for c in shown), sum(not c.outputs for c in shown)
    return dict(zip(MOST, (book.appendix, lines, silent, before), strict=True))


def images(cell: NotebookNode) -> list[tuple[str, str]]:
    """Return a code cell's stored images: each one's PNG, or other data, and its alt text."""
    return [
        (data, output.metadata.get(kind, {}).get("alt", "").strip())
        for output in cell.get("outputs", [])
        for kind, data in output.get("data", {}).items()
        if kind.startswith("image/")
    ]


def is_animated(png: str) -> bool:
    """Say whether a stored PNG is animated: it has a chunk of that name before its image data."""
    return b"acTL" in base64.b64decode(png).partition(b"IDAT")[0]


def _is_picture(cell: NotebookNode) -> bool:
    return bool(images(cell)) or (
        cell.cell_type == "markdown" and bool(STORED_PICTURE.search(cell.source))
    )


def _check_shape(book: StoredNotebook) -> Iterator[str]:
    counted = shape(book)
    yield from (
        f"{counted[k]} {k}, at most {n} are wanted" for k, n in MOST.items() if counted[k] > n
    )


def _check_jobs(book: StoredNotebook) -> Iterator[str]:
    for i, cell in book.cells("code"):
        jobs = sorted(JOB_TAGS.intersection(cell_tags(cell)))
        if len(jobs) != 1:
            yield f"cell {i} has the jobs {jobs}, not one of {', '.join(sorted(JOB_TAGS))}"
        if jobs == ["proof"] and not ASSERTION.search(cell.source):
            yield f"cell {i} is a proof that asserts nothing"
        if "fmt: skip" in cell.source:
            yield f"cell {i} has a 'fmt: skip'"
        if PROSE.search(cell.source):
            yield f"cell {i} has an answer or a takeaway in its code; write it in markdown"


def _check_names_of_proofs(book: StoredNotebook) -> Iterator[str]:
    """The edition with exercises has no proofs, so that nothing else may need one."""
    code = [(i, cell, ast.parse(cell.source)) for i, cell in book.cells("code")]
    kept = [item for item in code if LEFT_OUT_TAGS.isdisjoint(cell_tags(item[1]))]
    proved = {name for item in code if item not in kept for name in _defined(item[2])}
    proved -= {name for _, _, tree in kept for name in _defined(tree)}
    for i, _, tree in kept:
        used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        if needed := used & proved:
            yield f"cell {i} needs {', '.join(sorted(needed))}, which only a proof defines"


def _defined(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.alias):
            yield (node.asname or node.name).partition(".")[0]


def _check_pictures(book: StoredNotebook) -> Iterator[str]:
    stored = [(i, *image) for i, cell in book.cells("code") for image in images(cell)]
    yield from (f"cell {i} stores an image without alt text" for i, _, alt in stored if not alt)
    if not any(is_animated(data) for _, data, _ in stored):
        yield "no cell stores an animation"
    if not any(DIAGRAM.search(cell.source) for _, cell in book.cells("code")):
        yield "no cell draws a diagram by draw_network or draw_graph"


def _check_texts(book: StoredNotebook) -> Iterator[str]:
    for i, cell in book.cells("markdown"):
        yield from (f"cell {i}: {fault}" for fault in fold_faults(cell.source))
        if not set(cell_tags(cell)) <= {SOLUTION_TAG}:
            yield f"cell {i}: the tags of a text are {cell_tags(cell)}, not only 'solution'"
        if PROSE.search(without_folds(cell.source)) and SOLUTION_TAG not in cell_tags(cell):
            yield f"cell {i} has an answer or a takeaway, and not the tag 'solution'"
        if "**Answer" in cell.source.partition("**Takeaway")[2]:
            yield f"cell {i}: the takeaway stands before the answer"
        if found := headings(cell.source, level=2):
            if not cell.source.startswith("## ") or len(found) > 1 or cell_tags(cell):
                yield f"cell {i}: a section's heading does not start a cell without tags"


def _check_end(book: StoredNotebook) -> Iterator[str]:
    last = [heading for heading, _ in book.sections[-3:]]
    if len(last) < 3 or not all(map(str.startswith, last, LAST_SECTIONS)):
        yield f"the last three sections are {last}, not {LAST_SECTIONS}"
        return
    asked = sum(len(folds(c.source, "Answer")) for c in book.sections[-3][1])
    if asked not in CLAIMS_ASKED:
        yield f"{QUIZ!r} has {asked} folded answers, 4 to 6 are expected"
    reports = [i for i, cell in book.cells("code") if "report" in cell_tags(cell)]
    if not reports or reports[0] <= book.appendix:
        yield f"the cells with the tag 'report' are {reports}; they belong into the appendix"
    claims = (stored_report(book.node) or {"claims": ()})["claims"]
    if unknown := {claim["verdict"] for claim in claims} - {*VERDICTS}:
        yield f"{unknown} are no verdicts"


CHECKS = (
    *(_check_shape, _check_jobs, _check_names_of_proofs, _check_pictures),
    *(_check_texts, _check_end),
)
