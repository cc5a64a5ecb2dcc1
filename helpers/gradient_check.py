"""Central differences: an independent check of any hand-written derivative.

df/dx ≈ (f(x + h) - f(x - h)) / 2h, with an error of order h² from the truncation and ε/h from
rounding (ε ≈ 2.2e-16): with h = 1e-6 both are near 1e-10 where values are of order one.
"""

from collections.abc import Callable, Mapping

import numpy as np

ScalarFunction = Callable[..., float]
Arrays = Mapping[str, np.ndarray]
STEP = 1e-6


def central_differences(function: ScalarFunction, arrays: Arrays) -> dict[str, np.ndarray]:
    """Numerical gradient: for each of `arrays`, float64, an array of the same shape.

    `function(**arrays)` must return one number and must not change its arguments. ValueError if the
    number is not finite, or for another dtype: a smaller one rounds the difference away.
    """
    copies = {name: np.array(array) for name, array in arrays.items()}
    result = {name: np.empty_like(array) for name, array in copies.items()}
    for name, array in copies.items():
        if array.dtype != np.float64:
            raise ValueError(f"{name!r} has dtype {array.dtype}; expected float64")
        for index, original in np.ndenumerate(array.copy()):
            ends, values = np.array([original - STEP, original + STEP]), []
            for end in ends:
                array[index] = end
                values.append(np.asarray(function(**copies)))
                if values[-1].size != 1 or not np.isfinite(values[-1]).all():
                    found = f"the function returned {values[-1]!r} beside {name!r} at index {index}"
                    raise ValueError(f"{found}; expected one finite number (edge of its domain?)")
            array[index] = original
            result[name][index] = (values[1] - values[0]).item() / np.diff(ends).item()
    return result


def assert_gradients_close(
    function: ScalarFunction, arrays: Arrays, gradients: Arrays, tolerance: float = 1e-7
) -> None:
    """Raise AssertionError unless every element agrees with central differences.

    An element agrees if |a - n| ≤ tolerance · max(1, |a|, |n|): absolutely for small gradients,
    relatively for large ones. A gradient that is not finite never agrees. ValueError if names or
    shapes of arrays and gradients differ.
    """
    for name in {**arrays, **gradients}:
        shapes = [np.shape(of[name]) if name in of else None for of in (gradients, arrays)]
        if shapes[0] != shapes[1]:
            raise ValueError(f"{name!r}: gradient's shape {shapes[0]}, array's shape {shapes[1]}")
    for name, n in central_differences(function, arrays).items():
        a = np.asarray(gradients[name], dtype=np.float64)
        scale = np.maximum(1.0, np.maximum(np.abs(a), np.abs(n)))
        errors = np.nan_to_num(np.abs(a - n) / scale, nan=np.inf)
        if (errors > tolerance).any():
            index = tuple(np.argwhere(errors == errors.max())[0].tolist())
            found = f"written {a[index]:.9g}, central differences {n[index]:.9g}"
            found += f" (scaled error {errors[index]:.3g}, tolerance {tolerance:.3g})"
            raise AssertionError(f"the gradient of {name!r} is wrong at index {index}: {found}")
