"""The progress bar: what is left of it. Who sees one is tested with the trainer."""

import pytest

from helpers.progress import progress_bar


def test_a_loop_that_ends_early_leaves_no_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JPY_SESSION_NAME", "a notebook")
    with progress_bar(10) as bar:
        bar.update(3)
    assert (bar.n, bar.total) == (3, 3)  # else tqdm takes the loop for a failed one
    assert capsys.readouterr().err.endswith("\r")  # wiped


def test_after_an_error_the_bar_shows_how_far_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JPY_SESSION_NAME", "a notebook")
    with pytest.raises(ZeroDivisionError), progress_bar(10) as bar:
        bar.update(3)
        raise ZeroDivisionError
    assert (bar.n, bar.total) == (3, 10)
