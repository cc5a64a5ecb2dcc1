"""What a notebook reports: checked on input, one output with a table and its JSON."""

from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from helpers import reporting
from helpers.reporting import (
    RESULTS_MIME_TYPE,
    Claim,
    Result,
    five_numbers,
    format_iterations,
    mean_std,
    show_report,
    show_table,
    solved_of,
)

CLAIM = Claim("2018 a", "the sigmoid is\nslowest | ever", "right", "median 9,712")
RESULT = Result("sigmoid + L2", "about 10,000", "9,712")


@pytest.fixture
def shown(monkeypatch):
    """Collect what is displayed."""
    shown = []
    monkeypatch.setattr(reporting, "display", lambda what, **options: shown.append((what, options)))
    return shown


def test_one_output_has_the_table_and_the_same_rows_as_json(shown):
    show_report("02_trial", [CLAIM], [RESULT])
    ((bundle, options),) = shown
    assert options == {"raw": True}
    assert bundle["text/markdown"].splitlines() == [
        "| Setting | Reports | Measured here |",
        "| --- | --- | --- |",
        "| sigmoid + L2 | about 10,000 | 9,712 |",
        "",
        "| Report | Claim | Verdict | Evidence |",
        "| --- | --- | --- | --- |",
        "| 2018 a | the sigmoid is slowest \\| ever | **right** | median 9,712 |",
    ]
    assert bundle[RESULTS_MIME_TYPE] == {
        "notebook": "02_trial",
        "results": [RESULT._asdict()],
        "claims": [CLAIM._asdict()],
    }
    # As application/json, JupyterLab would show a tree; nbformat keeps only +json types as JSON.
    cell = new_code_cell(outputs=[new_output("display_data", data=bundle)])
    read = nbformat.reads(nbformat.writes(new_notebook(cells=[cell])), as_version=4)
    assert read.cells[0].outputs[0].data == bundle and "application/json" not in bundle


@pytest.mark.parametrize(
    ("claims", "results", "message"),
    [
        ([CLAIM], [Result("a", "b", 9712)], "expected texts, none of them empty; found .*9712"),
        ([CLAIM], [Result("a", " ", "c")], "expected texts"),
        ([Claim("2017", "", "right", "b")], [RESULT], "expected texts"),
        (
            [Claim("2017", "a", "so-so", "b")],
            [RESULT],
            "a verdict of right; right, for .*; found .*so-so",
        ),
        ([], [RESULT], "expected claims and results; found 0 and 1"),
        ([CLAIM], [], "expected claims and results; found 1 and 0"),
    ],
)
def test_what_cannot_be_reported_is_refused(claims, results, message, shown):
    with pytest.raises(ValueError, match=message):
        show_report("02", claims, results)
    assert shown == []


def test_a_table_is_displayed_as_markdown(shown):
    show_table(("a", "b"), [("1", "2")])
    assert shown[0][0]._repr_markdown_() == "| a | b |\n| --- | --- |\n| 1 | 2 |"


def test_five_numbers_are_median_quartiles_and_range():
    def quantiles(probabilities):
        return np.quantile([10.0, 20.0, 30.0, 3000.0, np.inf], probabilities, method="lower")

    history = SimpleNamespace(solved=np.array([1, 1, 1, 1, 0]), members=5, quantiles=quantiles)
    assert five_numbers(history) == "30 (20–3,000; 10–not reached)"
    assert solved_of(history) == "4 of 5"
    assert format_iterations(0) == "0"


def test_the_deviation_divides_by_one_less_than_the_number_of_values():
    assert mean_std([1.0, 2.0, 3.0]) == "2.000 ± 1.000"
    assert mean_std(np.array([0.97, 0.98]), percent=True) == "97.50 ± 0.71%"
    assert mean_std([-0.5, -0.5], digits=1) == "−0.5 ± 0.0"
    assert (mean_std([0.5], percent=True, digits=0), mean_std([])) == ("50%", "–")
