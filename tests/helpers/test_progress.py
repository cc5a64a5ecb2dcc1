"""The progress bar: who sees it, and what is left of it."""

from types import SimpleNamespace

import pytest

from helpers import progress
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


@pytest.mark.parametrize("place", ["VS Code", "Kaggle"])
def test_other_places_show_a_bar_to_whoever_watches(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    if place == "VS Code":
        shell = SimpleNamespace(user_ns={"__vsc_ipynb_file__": "01.ipynb"})
        monkeypatch.setattr(progress, "get_ipython", lambda: shell)
    else:
        monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Interactive")
    with progress_bar(10) as bar:
        bar.update(3)
    assert "0%" in capsys.readouterr().err


def test_without_a_terminal_and_a_notebook_there_is_no_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    with progress_bar(10) as bar:
        bar.update(3)
    assert capsys.readouterr().err == ""
