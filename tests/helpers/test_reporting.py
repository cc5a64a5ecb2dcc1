"""What a notebook reports: checked on input, one output with a table and its JSON."""

import json
from typing import Any

import nbformat
import numpy as np
import pytest
import torch
from nbformat.v4 import new_code_cell, new_notebook, new_output

from helpers import reporting
from helpers.history import History
from helpers.reporting import (
    RESULTS_MIME_TYPE,
    Claim,
    Result,
    five_numbers,
    format_iterations,
    show_report,
    solved_of,
)

CLAIM = Claim("2018 a", "the sigmoid is slowest", "right", "median 9,712")
RESULT = Result("sigmoid + L2", "about 10,000", 9712)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Collect what is displayed."""
    bundles: list[dict[str, Any]] = []

    def collect(bundle: dict[str, Any], raw: bool) -> None:
        assert raw
        bundles.append(bundle)

    monkeypatch.setattr(reporting, "display", collect)
    return bundles


def test_one_output_has_the_table_and_the_same_rows_as_json(shown: list[dict[str, Any]]) -> None:
    show_report("02_trial", [CLAIM], [RESULT, Result("ReLU", 0.5, 0.123456)])
    (bundle,) = shown
    assert bundle["text/markdown"].splitlines() == [
        "| Setting | Reports | Measured here |",
        "| --- | --- | --- |",
        "| sigmoid + L2 | about 10,000 | 9,712 |",
        "| ReLU | 0.5 | 0.1235 |",
        "",
        "| Report | Claim | Verdict | Evidence |",
        "| --- | --- | --- | --- |",
        "| 2018 a | the sigmoid is slowest | **right** | median 9,712 |",
    ]
    assert bundle[RESULTS_MIME_TYPE] == {
        "notebook": "02_trial",
        "results": [
            {"setting": "sigmoid + L2", "reported": "about 10,000", "measured": 9712},
            {"setting": "ReLU", "reported": 0.5, "measured": 0.123456},
        ],
        "claims": [
            {
                "source": "2018 a",
                "claim": "the sigmoid is slowest",
                "verdict": "right",
                "evidence": "median 9,712",
            }
        ],
    }


def test_the_output_survives_a_notebook_file(shown: list[dict[str, Any]]) -> None:
    show_report("02_trial", [CLAIM], [RESULT])
    cell = new_code_cell(outputs=[new_output("display_data", data=shown[0])])
    text = nbformat.writes(new_notebook(cells=[cell]))
    read = nbformat.reads(text, as_version=4)
    assert read.cells[0].outputs[0].data == shown[0]


def test_a_bar_or_line_break_does_not_break_the_table(shown: list[dict[str, Any]]) -> None:
    show_report("02_trial", [Claim("2017", "a | b\nc", "wrong", "d")], [RESULT])
    assert shown[0]["text/markdown"].endswith("| 2017 | a \\| b c | **wrong** | d |")


def test_no_front_end_prefers_the_json_to_the_table() -> None:
    # JupyterLab shows a tree for application/json, nbformat keeps only +json types as JSON.
    assert RESULTS_MIME_TYPE.startswith("application/vnd.")
    assert RESULTS_MIME_TYPE.endswith("+json")


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (np.int64(3), 3),
        (np.float32(0.5), 0.5),
        (np.array(2.0), 2.0),
        (torch.tensor(4), 4),
        (torch.tensor(0.25), 0.25),
    ],
)
def test_scalars_become_plain_numbers(value: Any, plain: float) -> None:
    measured = Result("a", "b", value).measured
    assert measured == plain
    assert type(measured) is type(plain)
    json.dumps(measured)


@pytest.mark.parametrize(
    "value", [None, True, np.bool_(True), [1], np.zeros(2), float("nan"), float("inf"), "", 1j]
)
def test_what_is_no_text_or_finite_number_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"Result\.measured of 'a' must be"):
        Result("a", "b", value)


def test_an_unknown_verdict_is_refused() -> None:
    with pytest.raises(ValueError, match="one of right, imprecise, wrong; found 'correct'"):
        Claim("2017", "a", "correct", "b")


@pytest.mark.parametrize("field", ["source", "claim", "evidence"])
@pytest.mark.parametrize("text", ["", "  ", None])
def test_a_claim_without_text_is_refused(field: str, text: Any) -> None:
    fields = {"source": "2017", "claim": "a", "verdict": "right", "evidence": "b"}
    with pytest.raises(ValueError, match=rf"Claim\.{field} must be a non-empty text"):
        Claim(**(fields | {field: text}))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("", [CLAIM], [RESULT]), "notebook must be a non-empty text"),
        (("02", [], [RESULT]), "claims is empty"),
        (("02", [CLAIM], []), "results is empty"),
    ],
)
def test_an_empty_report_is_refused(
    arguments: tuple[Any, ...], message: str, shown: list[dict[str, Any]]
) -> None:
    with pytest.raises(ValueError, match=message):
        show_report(*arguments)
    assert shown == []


def test_an_entry_of_another_type_is_refused() -> None:
    with pytest.raises(TypeError, match=r"claims\[1\] must be a Claim; found Result"):
        show_report("02", [CLAIM, RESULT], [RESULT])


def history_solved_at(*iterations):
    """A history of which only the iterations to the solution matter."""
    members = len(iterations)
    return History(
        np.arange(members), {}, np.array(iterations), np.full(members, np.inf), {}, {}, {}, 0.0
    )


@pytest.mark.parametrize(
    ("value", "text"), [(1234.0, "1,234"), (0, "0"), (float("inf"), "not reached")]
)
def test_iterations_are_formatted(value, text):
    assert format_iterations(value) == text


def test_five_numbers_are_median_quartiles_and_range():
    history = history_solved_at(40.0, 10.0, 20.0, 3000.0, 30.0)
    assert five_numbers(history) == "30 (20–40; 10–3,000)"
    assert solved_of(history) == "5 of 5"


def test_unsolved_members_are_counted_and_shown_as_not_reached():
    history = history_solved_at(10.0, np.inf, 20.0, np.inf)
    assert five_numbers(history) == "20 (10–not reached; 10–not reached)"
    assert solved_of(history) == "2 of 4"
