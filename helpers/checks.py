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

    ``check(what, function, *arguments, expected=…, **named)`` calls an answer with copies, and
    prints what it returns, or what `look` makes of that, if it is right. Options: see `fault_of`.
    Of each function's faults the first is described; exceptions and changed arguments are faults,
    too. But a stub's NotImplementedError ends the check.
    """
    faults, errors = {}, []

    def check(what: str, function: Callable, *arguments, expected, look=None, **named) -> None:
        options = {key: named.pop(key) for key in ("rtol", "atol", "factors") if key in named}
        given = copy.deepcopy((arguments, named))
        try:
            found = function(*given[0], **given[1])
            found = look(found) if look and found is not None else found
            fault = fault_of(found, expected, **options)
        except NotImplementedError:
            raise
        except Exception as error:
            errors.append(error)
            fault = f"raised {type(error).__name__}: {error}"
        if _differ(given, (arguments, named)):
            fault = f"{fault or 'right'}; an argument was changed: work on a copy"
        if not fault:
            print(f"{what}: {_text(tuple(found) if isinstance(expected, tuple) else found)}")
        elif function in faults:
            faults[function] += f"\n{what}: wrong, too"
        else:
            faults[function] = f"{what}: {fault}"

    yield check
    if faults:
        raise AssertionError("\n".join(faults.values())) from (errors or [None])[0]


def fault_of(
    found: Any, expected: Any, rtol: float = 1e-6, atol: float = 1e-9, factors: dict | None = None
) -> str:
    """What is wrong with an answer, in words; "" if it is right.

    `expected` is a number, an array, a list, or a tuple or dictionary of such. Numbers may differ
    by atol + rtol · |expected|. `factors` names those, as {"n": 8}, by which they may be wrong.
    """
    if found is None:
        return "nothing was returned; is a `return` missing?"
    if isinstance(found, list) and any(getattr(part, "requires_grad", False) for part in found):
        return "expected numbers, found a list of tensors with gradients; `.item()` gives a number"
    if isinstance(expected, (Mapping, tuple)):
        wanted, given = _parts(expected), _parts(found)
        if wanted.keys() != given.keys():
            return f"expected {_kind(expected)}, found {_kind(found)}"
        tried = {name: fault_of(given[name], wanted[name], rtol, atol, factors) for name in wanted}
        faults = {name: fault for name, fault in tried.items() if fault}
        endings = {fault.rpartition(": ")[2] for fault in faults.values()}
        faults = {", ".join(faults): endings.pop()} if len(faults) > len(endings) == 1 else faults
        return "; ".join(f"{name}: {fault}" for name, fault in faults.items())
    if _kind(found) != _kind(expected):
        return f"expected {_kind(expected)}, found {_kind(found)}"
    answer, expected = _array(found), _array(expected)
    right = np.isclose(answer, expected, rtol, atol, equal_nan=True)
    if right.all():
        return ""
    at = tuple(np.argwhere(~right)[0].tolist()) if right.size > MOST_SHOWN else ()
    text = f"expected {_text(expected[at])}, found {_text(answer[at])}"
    if at:
        text = f"{(~right).sum()} of {right.size} numbers are wrong; at index {at} {text}"
    return text + _factor(answer, expected, factors)


def _factor(answer: np.ndarray, expected: np.ndarray, factors: dict | None) -> str:
    """In words, the one factor by which all numbers are wrong, "" if there is none."""
    some = np.isfinite(expected) & (np.abs(expected) > 1e-6)
    ratio = (answer[some] / expected[some])[0] if some.any() else 0.0
    if not 1e-6 < abs(ratio) < 1e6 or not np.allclose(answer, ratio * expected, rtol=1e-4):
        return ""
    for name, factor in (factors or {}).items():
        for named, word in ((factor, "large"), (1 / factor, "small")):
            if np.isclose(ratio, named, rtol=1e-4):
                return f": {factor:g} times too {word}; {name} is {factor:g}"
    whole = np.isclose([ratio, 1 / ratio], np.round([ratio, 1 / ratio]), rtol=1e-4).any()
    if np.isclose(ratio, 1, rtol=1e-4) or (some.sum() == 1 and not whole):
        return ""  # any two numbers have a ratio
    return ": the wrong sign" if abs(ratio + 1) < 1e-4 else f": {ratio:.4g} times what is expected"


def _parts(values: Any) -> dict:
    if isinstance(values, (tuple, list)):
        values = {f"part {i}": part for i, part in enumerate(values, start=1)}
    return dict(values) if isinstance(values, Mapping) else {}


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
    sorts = {"b": "truth value"} | dict.fromkeys("iufc", "number")
    sort = sorts.get(array.dtype.kind, type(values).__name__)
    return f"one {sort}" if array.shape == () else f"{sort}s of shape {array.shape}"


def _text(values: Any) -> str:
    if isinstance(values, (Mapping, tuple)):
        return ", ".join(f"{name}: {_text(part)}" for name, part in _parts(values).items())
    array = _array(values)
    if np.issubdtype(array.dtype, np.floating):
        array = np.vectorize(lambda number: float(f"{number:.5g}"), otypes=[float])(array)
    return str(array.tolist()) if array.size <= MOST_SHOWN else _kind(values)


def _differ(now: Any, before: Any) -> bool:
    """Whether numbers differ, in tuples, lists and dictionaries of whatever depth."""
    if isinstance(before, (Mapping, tuple, list)):
        old, new = _parts(before), _parts(now)
        return old.keys() != new.keys() or any(_differ(new[name], old[name]) for name in old)
    numbers = hasattr(before, "detach") or isinstance(before, (int, float, np.ndarray))
    return numbers and not np.array_equal(_array(now), _array(before), equal_nan=True)
