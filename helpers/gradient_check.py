"""Central differences: an independent check of any hand-written derivative.

For a scalar function f and one element x of its arguments,

    df/dx ≈ (f(x + h) - f(x - h)) / 2h

with an error of order h² from the truncation and of order ε/h from rounding (ε ≈ 2.2e-16). The
default h = 1e-6 keeps both near 1e-10 for functions whose values are of order one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

ScalarFunction = Callable[..., float]


@dataclass(frozen=True)
class GradientError:
    """The worst disagreement of one array: absolute, relative, and where the absolute one is."""

    absolute: float
    relative: float
    index: tuple[int, ...]


def central_differences(
    function: ScalarFunction, arrays: Mapping[str, np.ndarray], step: float = 1e-6
) -> dict[str, np.ndarray]:
    """Numerical gradient of a scalar function with respect to every element of every array.

    Parameters
    ----------
    function : callable
        Called as `function(**arrays)`; must return one number and must not change its arguments.
    arrays : name -> float64 array of any shape
    step : float
        Half the distance between the two evaluations, in the unit of the arrays.

    Returns
    -------
    name -> float64 array of the same shape

    Raises
    ------
    ValueError
        If an array is not float64 (a smaller type rounds the difference away), if a value of the
        function is not one finite number, or if the step is not positive.
    """
    if not step > 0:
        raise ValueError(f"step is {step}; expected a positive number such as 1e-6")
    copies = {name: _as_float64(name, array).copy() for name, array in arrays.items()}
    result = {}
    for name, array in copies.items():
        gradient = np.empty_like(array)
        for index in np.ndindex(array.shape):
            original = array[index]
            ends = []
            for moved in (original + step, original - step):
                array[index] = moved
                ends.append((moved, _value(function, copies, name, index)))
            array[index] = original
            (upper, f_upper), (lower, f_lower) = ends
            gradient[index] = (f_upper - f_lower) / (upper - lower)
        result[name] = gradient
    return result


def gradient_errors(
    function: ScalarFunction,
    arrays: Mapping[str, np.ndarray],
    gradients: Mapping[str, np.ndarray],
    step: float = 1e-6,
) -> dict[str, GradientError]:
    """Compare hand-written `gradients` with central differences, array by array.

    The relative error of an element is |a - n| / max(|a|, |n|), and 0 where both are 0.
    Raises ValueError if names or shapes differ; see `central_differences` for the rest.
    """
    return {
        name: _worst(found, numerical)
        for name, found, numerical in _pairs(function, arrays, gradients, step)
    }


def assert_gradients_close(
    function: ScalarFunction,
    arrays: Mapping[str, np.ndarray],
    gradients: Mapping[str, np.ndarray],
    tolerance: float = 1e-7,
    step: float = 1e-6,
) -> None:
    """Raise AssertionError unless every element agrees with central differences.

    An element agrees if |a - n| ≤ tolerance · max(1, |a|, |n|): absolutely for small gradients,
    relatively for large ones. A gradient that is not finite never agrees.
    """
    for name, found, numerical in _pairs(function, arrays, gradients, step):
        scale = np.maximum(1.0, np.maximum(np.abs(found), np.abs(numerical)))
        excess = _difference(found, numerical) / np.where(np.isfinite(scale), scale, 1.0)
        if not (excess > tolerance).any():
            continue
        index = _index_of_largest(excess)
        raise AssertionError(
            f"the gradient of {name!r} is wrong at index {index}: written {found[index]:.9g}, "
            f"central differences {numerical[index]:.9g} (scaled error {excess[index]:.3g}, "
            f"tolerance {tolerance:.3g})"
        )


def _pairs(function, arrays, gradients, step) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """(name, written gradient, numerical gradient) for each array."""
    if set(gradients) != set(arrays):
        raise ValueError(
            f"gradients are given for {sorted(gradients)}, expected one for each of "
            f"{sorted(arrays)}"
        )
    pairs = []
    for name, numerical in central_differences(function, arrays, step).items():
        found = np.asarray(gradients[name], dtype=np.float64)
        if found.shape != numerical.shape:
            raise ValueError(
                f"the gradient of {name!r} has shape {found.shape}, but {name!r} has shape "
                f"{numerical.shape}"
            )
        pairs.append((name, found, numerical))
    return pairs


def _as_float64(name: str, array: np.ndarray) -> np.ndarray:
    array = np.asarray(array)
    if array.dtype != np.float64:
        raise ValueError(
            f"{name!r} has dtype {array.dtype}; expected float64, because a step of 1e-6 is lost "
            "in the rounding of a smaller type (use array.astype(np.float64))"
        )
    return array


def _value(function, arrays, name, index) -> float:
    value = np.asarray(function(**arrays))
    if value.size != 1 or not np.isfinite(value).all():
        raise ValueError(
            f"the function returned {value!r} beside {name!r} at index {index}; expected one "
            "finite number (is the point at the edge of the function's domain?)"
        )
    return float(value.reshape(()))


def _difference(found: np.ndarray, numerical: np.ndarray) -> np.ndarray:
    difference = np.abs(found - numerical)
    return np.where(np.isfinite(difference), difference, np.inf)


def _index_of_largest(values: np.ndarray) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(np.argmax(values), values.shape))


def _worst(found: np.ndarray, numerical: np.ndarray) -> GradientError:
    if found.size == 0:
        return GradientError(0.0, 0.0, ())
    difference = _difference(found, numerical)
    scale = np.maximum(np.abs(found), np.abs(numerical))
    relative = np.divide(difference, scale, out=np.zeros_like(scale), where=difference > 0)
    relative[np.isinf(difference)] = np.inf
    index = _index_of_largest(difference)
    return GradientError(float(difference[index]), float(relative.max()), index)
