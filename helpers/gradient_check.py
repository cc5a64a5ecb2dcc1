"""Central differences: an independent check of any hand-written derivative.

For a scalar function f and one element x of its arguments, df/dx ≈ (f(x + h) - f(x - h)) / 2h, with
an error of order h² from the truncation and of order ε/h from rounding (ε ≈ 2.2e-16). The default
h = 1e-6 keeps both near 1e-10 for functions whose values are of order one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

ScalarFunction = Callable[..., float]
Arrays = Mapping[str, np.ndarray]
STEP = 1e-6


class GradientError(NamedTuple):
    """The largest absolute difference in one array."""

    absolute: float


def central_differences(function: ScalarFunction, arrays: Arrays) -> dict[str, np.ndarray]:
    """Numerical gradient of a scalar function with respect to every element of every array.

    Parameters
    ----------
    function : callable
        Called as `function(**arrays)`; must return one number and must not change its arguments.
    arrays : name -> float64 array of any shape

    Returns
    -------
    name -> float64 array of the same shape

    Raises
    ------
    ValueError
        If an array is not float64 (a smaller type rounds the difference away), or if a value of
        the function is not one finite number.
    """
    copies = {name: np.array(array) for name, array in arrays.items()}
    result = {name: np.empty_like(array) for name, array in copies.items()}
    for name, array in copies.items():
        if array.dtype != np.float64:
            reason = f"because a step of {STEP} is lost in the rounding of a smaller type"
            raise ValueError(f"{name!r} has dtype {array.dtype}; expected float64, {reason}")
        for index in np.ndindex(array.shape):
            original = array[index]
            ends = (original - STEP, original + STEP)
            values = []
            for moved in ends:
                array[index] = moved
                values.append(_value(function, copies, name, index))
            array[index] = original
            result[name][index] = np.diff(values)[0] / np.diff(ends)[0]
    return result


def _value(function: ScalarFunction, arrays: Arrays, name: str, index: tuple[int, ...]) -> float:
    value = np.asarray(function(**arrays))
    if value.size != 1 or not np.isfinite(value).all():
        raise ValueError(
            f"the function returned {value!r} beside {name!r} at index {index}; expected one "
            "finite number (is the point at the edge of the function's domain?)"
        )
    return value.item()


def gradient_errors(
    function: ScalarFunction, arrays: Arrays, gradients: Arrays
) -> dict[str, GradientError]:
    """Compare hand-written `gradients` with central differences, array by array.

    Raises ValueError if names or shapes differ; see `central_differences` for the rest.
    """
    return {
        name: GradientError(float(np.max(np.abs(written - numerical), initial=0.0)))
        for name, written, numerical in _pairs(function, arrays, gradients)
    }


def assert_gradients_close(
    function: ScalarFunction, arrays: Arrays, gradients: Arrays, tolerance: float = 1e-7
) -> None:
    """Raise AssertionError unless every element agrees with central differences.

    An element agrees if |a - n| ≤ tolerance · max(1, |a|, |n|): absolutely for small gradients,
    relatively for large ones. A gradient that is not finite never agrees.
    """
    for name, written, numerical in _pairs(function, arrays, gradients):
        scale = np.maximum(1.0, np.maximum(np.abs(written), np.abs(numerical)))
        errors = np.nan_to_num(np.abs(written - numerical) / scale, nan=np.inf)
        if (errors > tolerance).any():
            index = tuple(int(i) for i in np.unravel_index(np.argmax(errors), errors.shape))
            raise AssertionError(
                f"the gradient of {name!r} is wrong at index {index}: written "
                f"{written[index]:.9g}, central differences {numerical[index]:.9g} (scaled error "
                f"{errors[index]:.3g}, tolerance {tolerance:.3g})"
            )


def _pairs(
    function: ScalarFunction, arrays: Arrays, gradients: Arrays
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Give (name, written gradient, numerical gradient) for each array."""
    if set(gradients) != set(arrays):
        expected = f"expected one for each of {sorted(arrays)}"
        raise ValueError(f"gradients are given for {sorted(gradients)}, {expected}")
    for name, numerical in central_differences(function, arrays).items():
        written = np.asarray(gradients[name], dtype=np.float64)
        if written.shape != numerical.shape:
            shapes = f"{written.shape}, but {name!r} has shape {numerical.shape}"
            raise ValueError(f"the gradient of {name!r} has shape {shapes}")
        yield name, written, numerical
