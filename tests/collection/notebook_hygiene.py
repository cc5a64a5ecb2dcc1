"""Find what must not be in a stored notebook, and what must be.

`hygiene_faults` checks one notebook, `link_faults` the relative links of any markdown text. A fault
is a sentence for whoever mends it.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from nbformat import NotebookNode

from tests.collection.notebook_form import ASSERTION, JOB_TAGS, LAST_SECTIONS, form_faults, images
from tests.tools.execute_notebooks import NOTEBOOK_METADATA
from tests.tools.exercises import SOLUTION_TAG, exercise_faults
from tests.tools.notebook_tools import (
    HIDDEN_TAG,
    StoredNotebook,
    badge_line,
    cell_tags,
    code_lines,
    headings,
    stored_metadata,
    stored_report,
    stored_repository,
)

MAX_BYTES = 2_000_000
MAX_CODE_LINES, MAX_HIDDEN_LINES = 20, 30
KNOWN_TAGS = JOB_TAGS | {SOLUTION_TAG, HIDDEN_TAG, "nbval-check-output"}
# The setup cell's end, because PyTorch reads the number of threads when it is imported.
IMPORT_HELPERS = """
import helpers  # noqa: E402 - before torch: sets how many threads it takes

helpers.require_packages(install=project == copy)"""
OWN_THREADS = re.compile(r"set_num_threads|threadpool|OMP_\w+")
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"

MACHINE_PATH = re.compile(
    r"(?:(?<![\w./-])|(?<=file://))/(?:home|root|tmp|work|Users|private|var/folders)/"
    r"|\b[A-Z]:\\{1,2}(?:Users|Windows|Temp|Program Files)\b"
)
BUNDLED_DIGITS = "Digits in use: bundled digits"  # how helpers.mnist describes them
PROGRESS_BAR = re.compile(r"\d%\||\d\s?(?:it/s|s/it)\b|\r")
MINUTES = re.compile(r"\babout (\d+(?:\.\d+)?|one|a|half a) CPU minutes?\b")
CAPTION = re.compile(r"# @title \S+")
BADGE = re.compile(
    r"https://colab\.research\.google\.com/github/([^/\s]+/[^/\s]+)/blob/main/([^)\s]+)"
)
REPOSITORY = re.compile(r'^REPOSITORY = "https://github\.com/([^"]+)"$', re.MULTILINE)
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)[^)]*\)")
CODE_OR_MATHS = re.compile(r"```.*?```|`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]*\$", re.DOTALL)


def hygiene_faults(book: StoredNotebook) -> list[str]:
    """Return the faults of a stored notebook, an empty list if it has none."""
    return [fault for check in CHECKS for fault in check(book)]


def setup_source(book: StoredNotebook) -> str:
    """Return the source of the first setup cell, "" if there is none."""
    return next((cell.source for _, cell in book.cells("code") if "setup" in cell_tags(cell)), "")


def link_faults(markdown: str, path: Path) -> list[str]:
    """Return the relative links and images of a text in `path` that lead nowhere.

    Anchors are those that JupyterLab (notebooks) or GitHub (markdown) makes of headings.
    """
    faults = []
    for _, _, target in LINK.findall(CODE_OR_MATHS.sub("", markdown)):
        file, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        linked = path.parent / file if file else path
        if not linked.exists():
            faults.append(f"the link {target} names no existing file")
        elif anchor and anchor not in _anchors(linked):
            faults.append(f"the link {target} names no existing heading")
    return faults


def _anchors(path: Path) -> set[str]:
    if path.suffix == ".ipynb":
        texts = [c.source for _, c in StoredNotebook(path).cells("markdown")]
        return {heading.replace(" ", "-") for text in texts for heading in headings(text)}
    slugs = (heading.lower().replace(" ", "-") for heading in headings(path.read_text("utf-8")))
    return {re.sub(r"[^\w-]", "", slug) for slug in slugs}


def _output_texts(cell: NotebookNode) -> Iterator[str]:
    """Yield every stored text of a code cell's outputs, pictures left out."""
    for output in cell.outputs:
        yield output.get("text", "")
        yield "\n".join(output.get("traceback", []))
        for kind, data in output.get("data", {}).items():
            if not kind.startswith("image/"):
                yield data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)


def _has_figure_or_assertion(cell: NotebookNode) -> bool:
    if cell.cell_type != "code":
        return False
    return bool(images(cell) or ASSERTION.search(cell.source))


def _check_execution(book: StoredNotebook) -> Iterator[str]:
    counts = [cell.execution_count for _, cell in book.cells("code")]
    if counts != list(range(1, len(counts) + 1)):
        yield f"the cells were executed as {counts}, not from top to bottom in one fresh kernel"


def _check_outputs(book: StoredNotebook) -> Iterator[str]:
    for i, cell in book.cells("code"):
        if any(output.output_type == "error" for output in cell.outputs):
            yield f"cell {i} stores an error"
        if any(output.get("name") == "stderr" for output in cell.outputs):
            yield f"cell {i} stores output to stderr"
        if any(WIDGET_VIEW in output.get("data", {}) for output in cell.outputs):
            yield f"cell {i} stores a widget; tag it 'interactive'"
        if any(PROGRESS_BAR.search(text) for text in _output_texts(cell)):
            yield f"cell {i} stores a progress bar"
        if any(BUNDLED_DIGITS in text for text in _output_texts(cell)):
            yield f"cell {i} was executed with the bundled digits, not with MNIST"


def _check_machine_paths(book: StoredNotebook) -> Iterator[str]:
    for i, cell in enumerate(book.node.cells, start=1):
        texts = [cell.source, *(_output_texts(cell) if cell.cell_type == "code" else ())]
        found = next(filter(None, map(MACHINE_PATH.search, texts)), None)
        if found:
            yield f"cell {i} has a path of one machine: {found.group()}"


def _check_file(book: StoredNotebook) -> Iterator[str]:
    size = book.path.stat().st_size
    if size > MAX_BYTES:
        yield f"the file has {size / 1e6:.1f} MB, more than {MAX_BYTES / 1e6:.0f}"
    if book.node.metadata != NOTEBOOK_METADATA:
        yield "its metadata are not what tests.tools.execute_notebooks writes; run that command"


def _check_code_cells(book: StoredNotebook) -> Iterator[str]:
    for i, cell in book.cells("code"):
        count = len(code_lines(cell))
        most = MAX_HIDDEN_LINES if HIDDEN_TAG in cell_tags(cell) else MAX_CODE_LINES
        if count > most and "setup" not in cell_tags(cell):
            yield f"cell {i} has {count} lines, more than {most}"
        for tag in set(cell_tags(cell)) - KNOWN_TAGS:
            yield f"cell {i} has the unknown tag {tag!r}"
        if cell.metadata != stored_metadata(cell):
            yield f"the metadata of cell {i} do not fit its tags; run tests.tools.execute_notebooks"
        if HIDDEN_TAG in stored_metadata(cell).get("tags", ()) and not CAPTION.match(cell.source):
            yield f"cell {i} is collapsed and its first line is no '# @title' with a caption"
        if found := OWN_THREADS.search(cell.source):
            yield f"cell {i} has {found.group()}: helpers/__init__.py alone sets the threads"


def _check_title(book: StoredNotebook) -> Iterator[str]:
    first = book.node.cells[0]
    if first.cell_type != "markdown" or not first.source.startswith("# "):
        yield "the first cell is not a markdown cell that starts with a '# ' heading"
    elif not MINUTES.search(first.source):
        yield "the title cell does not state 'about N CPU minutes'"


def _check_badge_and_setup(book: StoredNotebook) -> Iterator[str]:
    setup = [cell for _, cell in book.cells("code") if "setup" in cell_tags(cell)]
    if len(setup) != 1 or setup[0] is not book.cells("code")[0][1]:
        yield "the first code cell is not the one cell with the tag 'setup'"
    if not setup_source(book).endswith(IMPORT_HELPERS):
        yield f"the setup cell does not end with {IMPORT_HELPERS.strip()!r}"
    cloned = REPOSITORY.findall(setup_source(book))
    if cloned != [stored_repository()]:
        yield f"the setup cell clones {cloned}, pyproject.toml has {stored_repository()}"
    opened = BADGE.findall(book.node.cells[0].source)
    expected = BADGE.findall(badge_line(book.path.name))
    if opened != expected:
        yield f"the Colab badge opens {opened}, not {expected}; run tests.tools.exercise_edition"


def _check_sections(book: StoredNotebook) -> Iterator[str]:
    for heading, cells in book.sections:
        if not heading.startswith(LAST_SECTIONS) and not any(map(_has_figure_or_assertion, cells)):
            yield f"the section {heading!r} has neither a figure nor an assertion"


def _check_end(book: StoredNotebook) -> Iterator[str]:
    report = stored_report(book.node)
    if report is None:
        yield "no cell stores the JSON of helpers.reporting.show_report"
    elif report["notebook"] != book.path.stem:
        yield f"the stored report is that of {report['notebook']}"


def _check_markdown(book: StoredNotebook) -> Iterator[str]:
    for i, cell in book.cells("markdown"):
        text = CODE_OR_MATHS.sub("", cell.source)
        for fault in link_faults(cell.source, book.path):
            yield f"cell {i}: {fault}"
        alts = [alt.strip() for mark, alt, _ in LINK.findall(text) if mark]
        if not all(alts) or any("alt=" not in tag for tag in re.findall(r"<img\b[^>]*>", text)):
            yield f"cell {i} has an image without alt text"


CHECKS = (
    _check_execution,
    _check_outputs,
    _check_machine_paths,
    _check_file,
    _check_code_cells,
    _check_title,
    _check_badge_and_setup,
    _check_sections,
    _check_end,
    _check_markdown,
    lambda book: exercise_faults(book.node),
    form_faults,
)
