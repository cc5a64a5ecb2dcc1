"""Making of the README's results section."""

import pytest

from tests.collection.trial_notebook import REPORT
from tests.tools.results_table import END, START, replace_section, results_section


def test_section_of_a_report() -> None:
    assert results_section([REPORT]).splitlines() == [
        "| Notebook | Setting | Reports | Measured here |",
        "| --- | --- | --- | --- |",
        "| [01](notebooks/01_trial.ipynb) | two squared | about 4 | 4 |",
        "",
        "Of 2 claims in the reports, the notebooks find 1 right, 0 imprecise, 1 wrong.",
    ]


def test_only_the_section_is_replaced() -> None:
    text = f"before\n{START}\nold\n{END}\nafter\n"
    assert replace_section(text, "new") == f"before\n{START}\nnew\n{END}\nafter\n"


@pytest.mark.parametrize("text", ["", START, END, f"{END}{START}", f"{START}{START}{END}"])
def test_missing_or_repeated_markers_are_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="once each"):
        replace_section(text, "new")
