"""Report what a notebook measured beside what the reports claim.

A report is one output with two representations: a markdown table for readers, and the same
rows as JSON, from which the README's results table and the tests are made.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from numbers import Integral, Real

from IPython.display import display

from helpers.history import History

RESULTS_MIME_TYPE = "application/vnd.deep-learning-basics.results+json"
VERDICTS = ("right", "imprecise", "wrong")
NO_BREAK = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class Claim:
    """One claim of a report and what became of it.

    Attributes
    ----------
    source : str
        The report, for example ``"2018 a"``.
    claim : str
        What the report says, in a few words; markdown.
    verdict : str
        One of ``"right"``, ``"imprecise"``, ``"wrong"``.
    evidence : str
        What the notebook derived or measured; markdown, with numbers formatted by the run.
    """

    source: str
    claim: str
    verdict: str
    evidence: str

    def __post_init__(self) -> None:
        for field in ("source", "claim", "evidence"):
            _require_text(getattr(self, field), f"Claim.{field}")
        if self.verdict not in VERDICTS:
            raise ValueError(
                f"Claim.verdict must be one of {', '.join(VERDICTS)}; found {self.verdict!r}. "
                f"The claim is {self.claim!r}."
            )


@dataclass(frozen=True)
class Result:
    """One headline number of a notebook beside the figure in the reports.

    Attributes
    ----------
    setting : str
        What was run, for example ``"sigmoid + L2, iterations to 100%"``.
    reported, measured : str or number
        The reports' figure and this project's. Text is shown as it is; whole numbers are shown
        with thousands separators, other numbers with four significant digits. NumPy scalars and
        zero-dimensional tensors become plain Python numbers.
    """

    setting: str
    reported: str | int | float
    measured: str | int | float

    def __post_init__(self) -> None:
        _require_text(self.setting, "Result.setting")
        for field in ("reported", "measured"):
            plain = _plain_value(getattr(self, field), f"Result.{field} of {self.setting!r}")
            object.__setattr__(self, field, plain)


def show_report(notebook: str, claims: Sequence[Claim], results: Sequence[Result]) -> None:
    """Display a notebook's claims and results as a table and, in the same output, as JSON.

    The JSON has a media type of its own. JupyterLab's renderer for ``application/json`` has
    rank 0 and markdown's has rank 60, and the lower rank wins: with ``application/json`` a
    reader would see a tree of brackets in place of the table. No front end renders the type
    used here, so all show the markdown, and ``nbformat`` stores any ``+json`` type as JSON.

    Parameters
    ----------
    notebook : str
        File name without the suffix, for example ``"02_fully_connected_network"``.
    claims : sequence of Claim
        At least one; shown in this order.
    results : sequence of Result
        At least one; the README shows them in this order.

    Raises
    ------
    TypeError
        If an entry is not a `Claim` or a `Result`.
    ValueError
        If `notebook`, `claims` or `results` is empty.

    Notes
    -----
    Formulas in a table cell must not contain ``|``; write ``\\lvert`` and ``\\rvert``.
    """
    _require_text(notebook, "notebook")
    _require_entries(claims, Claim, "claims")
    _require_entries(results, Result, "results")
    report = {
        "notebook": notebook,
        "results": [asdict(result) for result in results],
        "claims": [asdict(claim) for claim in claims],
    }
    table = results_markdown(report["results"]) + "\n\n" + claims_markdown(report["claims"])
    bundle = {
        RESULTS_MIME_TYPE: json.loads(json.dumps(report, allow_nan=False)),
        "text/markdown": table,
        "text/plain": f"{notebook}: {len(results)} results, {len(claims)} claims",
    }
    display(bundle, raw=True)


def results_markdown(results: Sequence[dict]) -> str:
    """Return the results, as stored in the JSON, as a markdown table."""
    rows = [
        (r["setting"], format_value(r["reported"]), format_value(r["measured"])) for r in results
    ]
    return markdown_table(("Setting", "Reports", "Measured here"), rows)


def claims_markdown(claims: Sequence[dict]) -> str:
    """Return the claims, as stored in the JSON, as a markdown table."""
    rows = [
        (c["source"].replace(" ", NO_BREAK), c["claim"], f"**{c['verdict']}**", c["evidence"])
        for c in claims
    ]
    return markdown_table(("Report", "Claim", "Verdict", "Evidence"), rows)


def format_value(value: str | int | float) -> str:
    """Return text as it is, ``12345`` as ``12,345`` and ``0.123456`` as ``0.1235``."""
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


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


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a markdown table; ``|`` and line breaks in a cell are made harmless."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_table_cell(cell) for cell in line) + " |" for line in lines)


def _table_cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _require_text(value: object, name: str) -> None:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name} must be a non-empty text; found {value!r}.")


def _require_entries(entries: Sequence, kind: type, name: str) -> None:
    if len(entries) == 0:
        raise ValueError(f"{name} is empty: a report needs at least one {kind.__name__}.")
    for index, entry in enumerate(entries):
        if not isinstance(entry, kind):
            raise TypeError(
                f"{name}[{index}] must be a {kind.__name__}; found {type(entry).__name__}."
            )


def _plain_value(value: object, name: str) -> str | int | float:
    """Return `value` as a text, an int or a finite float of plain Python."""
    if isinstance(value, str):
        _require_text(value, name)
        return value
    if not isinstance(value, bool) and getattr(value, "shape", None) == ():
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ValueError(f"{name} must be a text or a number; found {value!r}.")
    if isinstance(value, Integral):
        return int(value)
    if not math.isfinite(value):
        raise ValueError(
            f"{name} must be finite; found {value!r}. Write in words what happened instead, "
            "for example 'not reached'."
        )
    return float(value)
