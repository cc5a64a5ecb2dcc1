"""Try the answer to an exercise, and say in words what is wrong with it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

MOST_SHOWN = 12  # numbers of an answer that are printed


@contextmanager
def checking() -> Iterator[Callable[..., None]]:
    """Give a function that tries answers; all that is wrong is one AssertionError at the end.

    ``check(what, function, *arguments, expected=…, **named)`` calls an answer, and prints what it
    returns if that is right; for further options see `fault_of`. What an answer raises is a fault,
    and so is a changed argument; but NotImplementedError, which a stub raises, ends the check.
    """
    faults: list[str] = []

    def check(what: str, function: Callable, *arguments, expected: Any, **named) -> None:
        options = {key: named.pop(key) for key in ("rtol", "atol", "factors") if key in named}
        given = copy.deepcopy((arguments, named))
        try:
            found = function(*arguments, **named)
        except NotImplementedError:
            raise
        except Exception as error:
            fault = f"raised {type(error).__name__}: {error}"
        else:
            fault = fault_of(found, expected, **options)
            if not fault and _differ((arguments, named), given):
                fault = "right, but what it was given is changed; work on copies"
        if fault:
            faults.append(f"{what}: {fault}")
        else:
            print(f"{what}: {_text(found)}")

    yield check
    if faults:
        raise AssertionError("\n".join(faults))


def fault_of(
    found: Any,
    expected: Any,
    *,
    rtol: float = 1e-6,
    atol: float = 1e-9,
    factors: Mapping[str, float] | None = None,
) -> str:
    """What is wrong with an answer, in words; "" if it is right.

    `expected` is a number or an array, of NumPy or PyTorch or as a list, or a tuple or dictionary
    of such. A number is right if it differs by at most atol + rtol · |expected|. `factors` names
    those, such as {"n": 8}, by which an answer may be too large or too small.
    """
    if found is None:
        return "nothing was returned; is a `return` missing?"
    if isinstance(expected, (Mapping, tuple)):
        wanted, given = _parts(expected), _parts(found)
        if wanted.keys() != given.keys():
            return f"expected {_kind(expected)}, found {_kind(found)}"
        options = {"rtol": rtol, "atol": atol, "factors": factors}
        faults = {name: fault_of(given[name], wanted[name], **options) for name in wanted}
        return "; ".join(f"{name}: {fault}" for name, fault in faults.items() if fault)
    if _kind(found) != _kind(expected):
        return f"expected {_kind(expected)}, found {_kind(found)}"
    answer, expected = _array(found), _array(expected)
    right = np.isclose(answer, expected, rtol, atol, equal_nan=True)
    if right.all():
        return ""
    text = f"expected {_text(expected)}, found {_text(answer)}"
    if expected.size > MOST_SHOWN:
        at = tuple(np.argwhere(~right)[0].tolist())
        text = f"{(~right).sum()} of {right.size} numbers are wrong; at index {at} expected "
        text += f"{_text(expected[at])}, found {_text(answer[at])}"
    return text + _factor(answer, expected, factors or {})


def _factor(answer: np.ndarray, expected: np.ndarray, factors: Mapping[str, float]) -> str:
    """In words, the one factor by which all numbers are wrong, "" if there is none."""
    some = np.abs(expected) > 1e-6
    ratios = answer[some] / expected[some]
    if not some.any() or not ratios[0] or not np.allclose(answer, ratios[0] * expected, rtol=1e-4):
        return ""
    for name, factor in factors.items():
        for ratio, word in ((factor, "large"), (1 / factor, "small")):
            if np.isclose(ratios[0], ratio, rtol=1e-4):
                return f": {factor:g} times too {word}; {name} is {factor:g}"
    sign = np.isclose(ratios[0], -1)
    return ": the wrong sign" if sign else f": {ratios[0]:.4g} times what is expected"


def _parts(values: Any) -> dict:
    if isinstance(values, Mapping):
        return dict(values)
    return dict(enumerate(values, start=1)) if isinstance(values, (tuple, list)) else {}


def _array(values: Any) -> np.ndarray:
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)


def _kind(values: Any) -> str:
    """What sort of thing an answer is, and of what shape."""
    if isinstance(values, Mapping):
        return f"a dictionary with {', '.join(map(str, values)) or 'nothing'}"
    if isinstance(values, tuple):
        return f"a tuple of {len(values)}"
    try:
        array = _array(values)
    except ValueError:
        return "lists of different lengths"
    sort = "truth value" if array.dtype == bool else "number"
    if not np.issubdtype(array.dtype, np.number) and array.dtype != bool:
        sort = type(values).__name__
    return f"one {sort}" if array.shape == () else f"{sort}s of shape {array.shape}"


def _text(values: Any) -> str:
    if isinstance(values, (Mapping, tuple)):
        return ", ".join(f"{name}: {_text(part)}" for name, part in _parts(values).items())
    array = _array(values)
    return str(np.round(array, 4).tolist()) if array.size <= MOST_SHOWN else _kind(values)


def _differ(now: Any, before: Any) -> bool:
    """Whether numbers differ, in tuples, lists and dictionaries of whatever depth."""
    if isinstance(before, (Mapping, tuple, list)):
        old, new = _parts(before), _parts(now)
        return old.keys() != new.keys() or any(_differ(new[name], old[name]) for name in old)
    numbers = hasattr(before, "detach") or isinstance(before, (int, float, np.ndarray))
    return numbers and not np.array_equal(_array(now), _array(before), equal_nan=True)
