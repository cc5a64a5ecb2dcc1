"""Find what must not be in a stored notebook, and what must be.

`hygiene_faults` checks one notebook, `setup_faults` that all have the same setup cell, and
`link_faults` the relative links of any markdown text. A fault is a sentence for whoever mends it.
"""

import ast
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from nbformat import NotebookNode

from tests.tools.exercises import CHECK_TAG, SOLUTION_TAG
from tests.tools.notebook_tools import cell_tags, read_notebook, stored_report

MAX_BYTES = 2_000_000
MAX_CODE_LINES = 20
KNOWN_TAGS = {
    *("setup", "imports", "implementation", "interactive", "nbval-check-output"),
    *(SOLUTION_TAG, CHECK_TAG),
}
LAST_SECTIONS = ("Reports against measurements", "Further exercises")
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"

MACHINE_PATH = re.compile(
    r"(?:(?<![\w./-])|(?<=file://))/(?:home|root|tmp|work|Users|private|var/folders)/"
    r"|\b[A-Z]:\\{1,2}(?:Users|Windows|Temp|Program Files)\b"
)
BUNDLED_DIGITS = "Digits in use: bundled digits"  # how helpers.mnist describes them
PROGRESS_BAR = re.compile(r"\d%\||\d\s?(?:it/s|s/it)\b|\r")
MINUTES = re.compile(r"\babout (\d+(?:\.\d+)?|one|a|half a) CPU minutes?\b")
BADGE = re.compile(
    r"https://colab\.research\.google\.com/github/([^/\s]+/[^/\s]+)/blob/main/([^)\s]+)"
)
BADGE_LINE = re.compile(r"^\[!\[Open in Colab\].*$", re.MULTILINE)
REPOSITORY = re.compile(r'^REPOSITORY = "https://github\.com/([^"]+)"$', re.MULTILINE)
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)[^)]*\)")
CODE_OR_MATHS = re.compile(r"```.*?```|`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]*\$", re.DOTALL)


@dataclass(frozen=True)
class Section:
    """A ``## `` heading with the cells up to the next one; its own markdown cell comes first."""

    heading: str
    cells: list[NotebookNode]


@dataclass(frozen=True)
class StoredNotebook:
    """A notebook's file and what was read from it."""

    path: Path

    @cached_property
    def node(self) -> NotebookNode:
        return read_notebook(self.path)

    @cached_property
    def code(self) -> list[tuple[int, NotebookNode]]:
        """Code cells, each with its position in the notebook, counted from 1."""
        return [(i, c) for i, c in enumerate(self.node.cells, start=1) if c.cell_type == "code"]

    @cached_property
    def markdown(self) -> list[tuple[int, NotebookNode]]:
        """Markdown cells, each with its position in the notebook, counted from 1."""
        return [(i, c) for i, c in enumerate(self.node.cells, start=1) if c.cell_type == "markdown"]

    @cached_property
    def sections(self) -> list[Section]:
        sections: list[Section] = []
        for cell in self.node.cells:
            if cell.cell_type == "markdown":
                sections += [Section(text, []) for text in headings(cell.source, level=2)]
            if sections:
                sections[-1].cells.append(cell)
        return sections


def hygiene_faults(path: Path) -> list[str]:
    """Return the faults of a stored notebook, an empty list if it has none."""
    book = StoredNotebook(path)
    return [fault for check in CHECKS for fault in check(book)]


def setup_faults(paths: Sequence[Path]) -> list[str]:
    """Return the notebooks whose setup cell differs from the first notebook's."""
    sources = [_setup_source(StoredNotebook(path)) for path in paths]
    return [
        f"{path.name}: the setup cell differs from that of {paths[0].name}"
        for path, source in zip(paths, sources, strict=True)
        if source != sources[0]
    ]


def link_faults(markdown: str, path: Path) -> list[str]:
    """Return the relative links and images of a text in `path` that lead nowhere.

    Anchors are compared with the headings of the text itself or of the linked notebook or
    markdown file, in the form that JupyterLab (notebooks) or GitHub (markdown) gives them.
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


def headings(markdown: str, level: int | None = None) -> list[str]:
    """Return the texts of the headings outside code blocks, of one level or of all."""
    marks = "#{1,6}" if level is None else "#" * level
    text = re.sub(r"```.*?```", "", markdown, flags=re.DOTALL)
    return re.findall(rf"^{marks} +(.+?) *$", text, re.MULTILINE)


def _anchors(path: Path) -> set[str]:
    if path.suffix == ".ipynb":
        texts = [c.source for _, c in StoredNotebook(path).markdown]
        return {heading.replace(" ", "-") for text in texts for heading in headings(text)}
    slugs = (heading.lower().replace(" ", "-") for heading in headings(path.read_text("utf-8")))
    return {re.sub(r"[^\w-]", "", slug) for slug in slugs}


def _setup_source(book: StoredNotebook) -> str | None:
    return next((cell.source for _, cell in book.code if "setup" in cell_tags(cell)), None)


def _output_texts(cell: NotebookNode) -> Iterator[str]:
    """Yield every stored text of a code cell's outputs, pictures left out."""
    for output in cell.outputs:
        yield output.get("text", "")
        yield "\n".join(output.get("traceback", []))
        for kind, data in output.get("data", {}).items():
            if not kind.startswith("image/"):
                yield data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)


def _has_figure(cell: NotebookNode) -> bool:
    return any("image/png" in output.get("data", {}) for output in cell.get("outputs", []))


def _has_assertion(cell: NotebookNode) -> bool:
    """Say whether a code cell has an ``assert`` statement or calls an ``assert_…`` function."""
    if cell.cell_type != "code":
        return False
    for node in ast.walk(ast.parse(cell.source)):
        called = node.func if isinstance(node, ast.Call) else None
        name = getattr(called, "attr", getattr(called, "id", ""))
        if isinstance(node, ast.Assert) or name.startswith("assert_"):
            return True
    return False


def _check_execution(book: StoredNotebook) -> Iterator[str]:
    counts = [cell.execution_count for _, cell in book.code]
    unexecuted = [i for i, cell in book.code if cell.execution_count is None]
    if unexecuted:
        yield f"cell {unexecuted[0]} was not executed"
    elif counts != list(range(1, len(counts) + 1)):
        yield f"the cells were executed as {counts}, not from top to bottom in one fresh kernel"


def _check_outputs(book: StoredNotebook) -> Iterator[str]:
    for i, cell in book.code:
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
    if "widgets" in book.node.metadata:
        yield "the metadata has widget state"
    kernel = book.node.metadata.get("kernelspec", {}).get("name")
    if kernel != "python3":
        yield f"the kernel is named {kernel!r}, not 'python3'"


def _check_code_cells(book: StoredNotebook) -> Iterator[str]:
    for i, cell in book.code:
        count = sum(bool(line.strip()) for line in cell.source.splitlines())
        if count > MAX_CODE_LINES:
            yield f"cell {i} has {count} lines, more than {MAX_CODE_LINES}"
        for tag in set(cell_tags(cell)) - KNOWN_TAGS:
            yield f"cell {i} has the unknown tag {tag!r}"


def _check_title(book: StoredNotebook) -> Iterator[str]:
    first = book.node.cells[0]
    if first.cell_type != "markdown" or not first.source.startswith("# "):
        yield "the first cell is not a markdown cell that starts with a '# ' heading"
    elif not MINUTES.search(first.source):
        yield "the title cell does not state 'about N CPU minutes'"


def _check_badge_and_setup(book: StoredNotebook) -> Iterator[str]:
    setup = [cell for _, cell in book.code if "setup" in cell_tags(cell)]
    if len(setup) != 1 or setup[0] is not book.code[0][1]:
        yield "the first code cell is not the one cell with the tag 'setup'"
    badge = BADGE.search(book.node.cells[0].source)
    if not badge:
        yield "the title cell has no Colab badge"
        return
    if badge[2] != f"notebooks/{book.path.name}":
        yield f"the Colab badge opens {badge[2]}, not this notebook"
    repository = REPOSITORY.search(_setup_source(book) or "")
    if repository and repository[1] != badge[1]:
        yield f"the Colab badge opens {badge[1]}, the setup cell clones {repository[1]}"


def _check_sections(book: StoredNotebook) -> Iterator[str]:
    for section in book.sections:
        if section.heading in LAST_SECTIONS:
            continue
        if not any(_has_figure(cell) or _has_assertion(cell) for cell in section.cells):
            yield f"the section {section.heading!r} has neither a figure nor an assertion"


def _check_end(book: StoredNotebook) -> Iterator[str]:
    last = tuple(section.heading for section in book.sections[-2:])
    if last != LAST_SECTIONS:
        yield f"the last two sections are {last}, not {LAST_SECTIONS}"
        return
    report = stored_report(book.node)
    if report is None:
        yield "no cell stores the JSON of helpers.reporting.show_report"
    elif report["notebook"] != book.path.stem:
        yield f"the stored report is that of {report['notebook']}"


def _check_markdown(book: StoredNotebook) -> Iterator[str]:
    for i, cell in book.markdown:
        text = CODE_OR_MATHS.sub("", cell.source)
        for fault in link_faults(cell.source, book.path):
            yield f"cell {i}: {fault}"
        if any(mark and not alt.strip() for mark, alt, _ in LINK.findall(text)):
            yield f"cell {i} has an image without alt text"
        if any("alt=" not in tag for tag in re.findall(r"<img\b[^>]*>", text)):
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
)
