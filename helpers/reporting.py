"""Report what a notebook measured beside what the reports claim, and numbers as texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from IPython.display import Markdown, display

if TYPE_CHECKING:  # PyTorch takes seconds to import
    from helpers.history import History

RESULTS_MIME_TYPE = "application/vnd.deep-learning-basics.results+json"
VERDICTS = ("right", "right, for another reason", "depends", "wrong", "cannot be reproduced")


class Claim(NamedTuple):
    """What a report, such as "2018 a", says, and what became of it: texts, in markdown."""

    source: str
    claim: str
    verdict: str
    evidence: str


class Result(NamedTuple):
    """What was run, and its headline number in the reports and here: texts."""

    setting: str
    reported: str
    measured: str


def show_report(notebook: str, claims: Sequence[Claim], results: Sequence[Result]) -> None:
    """Display a notebook's claims and results as a table and, in the same output, as JSON.

    `notebook` is the file's name without the suffix. The README's results are made from the JSON.
    With ``application/json`` as its type, JupyterLab would show it instead of the table.
    Raises ValueError without claims or results, for a verdict not in VERDICTS, for what is no text.
    """
    if not claims or not results:
        raise ValueError(f"expected claims and results; found {len(claims)} and {len(results)}")
    for entry in (*claims, *results):
        if not all(isinstance(text, str) and text.strip() for text in entry):
            raise ValueError(f"expected texts, none of them empty; found {entry}")
        if isinstance(entry, Claim) and entry.verdict not in VERDICTS:
            raise ValueError(f"expected a verdict of {'; '.join(VERDICTS)}; found {entry}")
    report = {"notebook": notebook, "results": [result._asdict() for result in results]}
    report["claims"] = [claim._asdict() for claim in claims]
    table = markdown_table(("Setting", "Reports", "Measured here"), results) + "\n\n"
    rows = [
        (c.source.replace(" ", "\N{NO-BREAK SPACE}"), c.claim, f"**{c.verdict}**", c.evidence)
        for c in claims
    ]
    table += markdown_table(("Report", "Claim", "Verdict", "Evidence"), rows)
    text = f"{notebook}: {len(results)} results, {len(claims)} claims"
    display({RESULTS_MIME_TYPE: report, "text/markdown": table, "text/plain": text}, raw=True)


def format_iterations(value: float) -> str:
    """A number of iterations with thousands separators, or "not reached" if it is infinite."""
    return f"{value:,.0f}" if np.isfinite(value) else "not reached"


def solved_of(history: History) -> str:
    """How many of how many members were solved, as a short text."""
    return f"{history.solved.sum()} of {history.members}"


def five_numbers(history: History) -> str:
    """Median (quartiles; range) of the iterations after which members were solved, as a text."""
    numbers = history.quantiles((0, 0.25, 0.5, 0.75, 1))
    low, first, median, third, high = (format_iterations(number) for number in numbers)
    return f"{median} ({first}–{third}; {low}–{high})"


def mean_std(values: Sequence[float], percent: bool = False, digits: int | None = None) -> str:
    """Mean ± standard deviation (n − 1 in the denominator) of n values, as a text.

    One value alone is shown without a deviation, none as "–". With `percent`, the values are shares
    and shown in per cent: "97.12 ± 0.05%". `digits` are decimal places: 2 in per cent, else 3.
    """
    if len(values) == 0:
        return "–"
    numbers = [np.mean(values), *([np.std(values, ddof=1)] if len(values) > 1 else [])]
    places = digits if digits is not None else 2 if percent else 3
    texts = [f"{x * 100**percent:z.{places}f}".replace("-", "−") for x in numbers]
    return " ± ".join(texts) + "%" * percent


def show_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Display a markdown table."""
    display(Markdown(markdown_table(header, rows)))


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a markdown table; ``|`` and line breaks in a cell are made harmless."""
    lines = [header, ["---"] * len(header), *rows]
    cells = [[" ".join(cell.split()).replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)
