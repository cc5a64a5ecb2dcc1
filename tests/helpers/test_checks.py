"""The checks of exercises: what is right passes, and what is wrong is said in words."""

import numpy as np
import pytest
import torch

from helpers.checks import checking, fault_of

EXPECTED = np.array([0.5, -1.0, 0.0])


@pytest.mark.parametrize(
    ("found", "expected", "fault"),
    [
        (None, EXPECTED, "nothing was returned; is a `return` missing?"),
        ((EXPECTED,), EXPECTED, "expected numbers of shape (3,), found a tuple of 1"),
        (
            EXPECTED > 0,
            EXPECTED,
            "expected numbers of shape (3,), found truth values of shape",
        ),
        (True, 1.0, "expected one number, found one truth value"),
        ("0.5", 0.5, "expected one number, found one str"),
        (
            [[1.0], [2.0, 3.0]],
            EXPECTED,
            "expected numbers of shape (3,), found lists of different le",
        ),
        (
            EXPECTED[:, None],
            EXPECTED,
            "expected numbers of shape (3,), found numbers of shape (3, 1)",
        ),
        (8 * EXPECTED, EXPECTED, "found [4.0, -8.0, 0.0]: 8 times too large; n is 8"),
        (EXPECTED / 8, EXPECTED, ": 8 times too small; n is 8"),
        (-EXPECTED, EXPECTED, ": the wrong sign"),
        (3 * EXPECTED, EXPECTED, ": 3 times what is expected"),
        (EXPECTED + 1, EXPECTED, "expected [0.5, -1.0, 0.0], found [1.5, 0.0, 1.0]"),
        (np.arange(20.0) + (np.arange(20) == 7), np.arange(20.0), "1 of 20 numbers are wrong; at"),
        (np.array([np.nan, 1]), np.array([0.0, 1]), "expected [0.0, 1.0], found [nan, 1.0]"),
        (1.0, (1.0, 2.0), "expected a tuple of 2, found one number"),
        ((1.0, 3.0), (1.0, 2.0), "part 2: expected 2.0, found 3.0"),
        (489.5, 489.0, "expected 489.0, found 489.5"),
        (np.inf, 66, "expected 66, found inf"),
        (66, np.inf, "expected inf, found 66"),
        (1.5 * EXPECTED, EXPECTED, ": 1.5 times what is expected"),
        (EXPECTED * (1 + 1e-5), EXPECTED, "expected [0.5, -1.0, 0.0], found [0.50001, -1.0, 0.0]"),
        (2e-5, 1e-5, "expected 1e-05, found 2e-05: 2 times what is expected"),
        (
            {"W": 1.0},
            {"W": 1.0, "b": 2.0},
            "expected a dictionary with W, b, found a dictionary wit",
        ),
        (
            {"W": 2.0, "b": 9.0},
            {"W": 1.0, "b": 9.5},
            "W: expected 1.0, found 2.0: 2 times what is e",
        ),
        ([torch.tensor(0.5, requires_grad=True)] * 3, EXPECTED, "`.item()` gives a number"),
        (
            {"W": 8 * EXPECTED, "b": 80.0},
            {"W": EXPECTED, "b": 10.0},
            "W, b: 8 times too large; n is 8",
        ),
    ],
)
def test_a_mistake_is_said_in_words(found, expected, fault):
    said = fault_of(found, expected, factors={"n": 8})
    assert fault in said and "\n" not in said and len(said) < 200
    assert ("times" in said) == ("times" in fault)  # any two numbers have a ratio


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (EXPECTED + 1e-10, EXPECTED),
        (torch.tensor([0.5, -1.0, 0.0], requires_grad=True), EXPECTED),
        ([0.5, -1, 0], EXPECTED),
        (EXPECTED, [0.5, -1.0, 0.0]),
        (np.float64(2), 2),
        (np.array([np.nan]), [np.nan]),
        ((1, [2, 3]), (1, np.array([2, 3]))),
        ([1, 2], (1, 2)),
        ({"b": 2, "W": 1}, {"W": 1, "b": 2}),
        (EXPECTED > 0, EXPECTED > 0),
    ],
)
def test_what_is_right_passes(found, expected):
    assert fault_of(found, expected) == ""


def test_all_faults_are_reported_one_by_one_and_what_is_right_is_printed(capsys):
    def broken(x):
        raise TypeError("no such thing")

    with pytest.raises(AssertionError) as error, checking() as check:
        check("double", lambda x: 2 * x, np.ones(2), expected=[2, 2])
        check("half", lambda x: x, 1.0, expected=0.5)
        check("broken", broken, 1.0, expected=0.5)
        check("named", lambda x, y: x - y, 1.0, y=2.0, expected=-1.0, atol=0.1)
        check("a list", lambda x: [x, np.ones(2)], 1.0, expected=(1.0, [1, 1]))
    half = "half: expected 0.5, found 1.0: 2 times what is expected"
    assert str(error.value) == f"{half}\nbroken: raised TypeError: no such thing"
    listed = "a list: part 1: 1.0, part 2: [1.0, 1.0]"
    assert capsys.readouterr().out == f"double: [2.0, 2.0]\nnamed: -1.0\n{listed}\n"


def test_an_answer_that_changes_what_it_was_given_is_refused():
    def in_place(x, parameters):
        parameters["W"] += 1
        return x + parameters["W"]

    given = {"W": np.zeros(2)}
    with pytest.raises(AssertionError) as error, checking() as check:
        check("first", in_place, 1.0, given, expected=[2.0, 2.0])
        check("second", in_place, 1.0, parameters=given, expected=[1.0, 1.0])
        check("third", lambda x: x.sort(), np.array([2, 1]), expected=[1, 2])
    first, second, third = str(error.value).splitlines()
    assert first == "first: right; an argument was changed: work on a copy"
    assert second == "second: wrong, too"
    assert third.endswith("`return` missing?; an argument was changed: work on a copy")
    assert given["W"].tolist() == [0, 0]  # so a mistake has no effect on the next call


def test_what_an_answer_does_can_be_looked_at(capsys):
    with checking() as check:
        check("sum", lambda x: {"W": x}, np.ones(2), look=lambda of: of["W"].sum(), expected=2)
    assert capsys.readouterr().out == "sum: 2.0\n"
    with pytest.raises(AssertionError) as error, checking() as check:
        check("sum", lambda x: None, 1.0, look=lambda found: found["W"], expected=2)
        check("sum", lambda x: {}, 1.0, look=lambda found: found["W"], expected=2)
    missing = "sum: nothing was returned; is a `return` missing?"
    assert str(error.value) == f"{missing}\nsum: raised KeyError: 'W'"
    assert isinstance(error.value.__cause__, KeyError)  # its traceback shows where


def test_a_stub_ends_the_check():
    def stub():
        raise NotImplementedError("Exercise 1")

    with pytest.raises(NotImplementedError, match="Exercise 1"), checking() as check:
        check("half", lambda x: x, 1.0, expected=0.5)
        check("stub", stub, expected=0)
