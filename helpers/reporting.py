"""Report what a notebook measured beside what the reports claim, and numbers as texts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from IPython.display import Markdown, display

if TYPE_CHECKING:  # PyTorch takes seconds to import
    from helpers.history import History

RESULTS_MIME_TYPE = "application/vnd.deep-learning-basics.results+json"
VERDICTS = ("right", "imprecise", "wrong")
NO_BREAK = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class Claim:
    """One claim of a report and what became of it; ValueError for another verdict or no text.

    `source` is the report, such as "2018 a"; `claim` what it says and `evidence` what the notebook
    derived or measured, both in markdown; `verdict` one of `VERDICTS`.
    """

    source: str
    claim: str
    verdict: str
    evidence: str

    def __post_init__(self) -> None:
        _require_texts(self)
        if self.verdict not in VERDICTS:
            raise ValueError(
                f"Claim.verdict must be one of {', '.join(VERDICTS)}; found {self.verdict!r}. "
                f"The claim is {self.claim!r}."
            )


@dataclass(frozen=True)
class Result:
    """What was run, and its headline number in the reports and here, all as texts."""

    setting: str
    reported: str
    measured: str

    def __post_init__(self) -> None:
        _require_texts(self)


def _require_texts(entry: Claim | Result) -> None:
    for field, value in vars(entry).items():
        if not isinstance(value, str) or not value.strip():
            name = f"{type(entry).__name__}.{field}"
            raise ValueError(f"{name} must be a non-empty text; found {value!r} in {entry}.")


def show_report(notebook: str, claims: Sequence[Claim], results: Sequence[Result]) -> None:
    """Display a notebook's claims and results as a table and, in the same output, as JSON.

    No front end renders the JSON's own media type, so that all show the table; JupyterLab would
    prefer a tree of ``application/json``. ``nbformat`` stores any ``+json`` type as JSON.

    `notebook` is the file's name without the suffix. The README's results are made from the JSON.
    Raises ValueError if `claims` or `results` is empty, TypeError if an entry is of another type.
    """
    for name, entries, kind in (("claims", claims, Claim), ("results", results, Result)):
        if len(entries) == 0:
            raise ValueError(f"{name} is empty: a report needs at least one {kind.__name__}.")
        for index, entry in enumerate(entries):
            if not isinstance(entry, kind):
                found = f"must be a {kind.__name__}; found {type(entry).__name__}."
                raise TypeError(f"{name}[{index}] {found}")
    report = {
        "notebook": notebook,
        "results": [asdict(result) for result in results],
        "claims": [asdict(claim) for claim in claims],
    }
    table = results_markdown(report["results"]) + "\n\n" + claims_markdown(report["claims"])
    text = f"{notebook}: {len(results)} results, {len(claims)} claims"
    display({RESULTS_MIME_TYPE: report, "text/markdown": table, "text/plain": text}, raw=True)


def results_markdown(results: Sequence[dict]) -> str:
    """Return the results, as stored in the JSON, as a markdown table."""
    rows = [(r["setting"], r["reported"], r["measured"]) for r in results]
    return markdown_table(("Setting", "Reports", "Measured here"), rows)


def claims_markdown(claims: Sequence[dict]) -> str:
    """Return the claims, as stored in the JSON, as a markdown table."""
    rows = [
        (c["source"].replace(" ", NO_BREAK), c["claim"], f"**{c['verdict']}**", c["evidence"])
        for c in claims
    ]
    return markdown_table(("Report", "Claim", "Verdict", "Evidence"), rows)


def format_iterations(value: float) -> str:
    """A number of iterations with thousands separators, or "not reached" if it is infinite."""
    return f"{value:,.0f}" if math.isfinite(value) else "not reached"


def solved_of(history: History) -> str:
    """How many of how many members were solved, as a short text."""
    return f"{history.solved.sum()} of {history.members}"


def five_numbers(history: History) -> str:
    """Median (quartiles; range) of the iterations after which members were solved, as a text."""
    numbers = history.quantiles((0, 0.25, 0.5, 0.75, 1))
    low, first, median, third, high = (format_iterations(number) for number in numbers)
    return f"{median} ({first}–{third}; {low}–{high})"


def mean_std(values: Sequence[float], percent: bool = False, digits: int | None = None) -> str:
    """Mean ± standard deviation of a sample (n − 1 in the denominator), as a text.

    Parameters
    ----------
    values : sequence of float, shape (n,)
        One for each seed. One alone has no deviation and is shown as it is; none is "–".
    percent : bool
        Whether the values are shares, to be shown in per cent: "97.12 ± 0.05%".
    digits : int, optional
        Decimal places; default: 2 in per cent, else 3.
    """
    if len(values) == 0:
        return "–"
    values = np.asarray(values)
    spread = [values.std(ddof=1)] if len(values) > 1 else []
    return " ± ".join(_decimals([values.mean(), *spread], percent, digits)) + "%" * percent


def quartiles_text(
    values: Sequence[float], percent: bool = False, digits: int | None = None
) -> str:
    """Median (lower to upper quartile), as a text; the arguments are those of `mean_std`."""
    if len(values) == 0:
        return "–"
    low, median, high = _decimals(np.quantile(values, (0.25, 0.5, 0.75)), percent, digits)
    return f"{median}{'%' * percent} ({low} to {high})"


def _decimals(values: Sequence[float], percent: bool, digits: int | None) -> list[str]:
    places = digits if digits is not None else 2 if percent else 3
    return [f"{value * 100**percent:z.{places}f}".replace("-", "−") for value in values]


def show_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Display a markdown table."""
    display(Markdown(markdown_table(header, rows)))


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a markdown table; ``|`` and line breaks in a cell are made harmless."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_table_cell(cell) for cell in line) + " |" for line in lines)


def _table_cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
