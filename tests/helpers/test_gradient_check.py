"""Central differences find right gradients right and wrong ones wrong."""

import numpy as np
import pytest

from helpers.gradient_check import (
    GradientError,
    assert_gradients_close,
    central_differences,
    gradient_errors,
)

RNG = np.random.default_rng(0)
ARRAYS = {"weight": RNG.normal(size=(3, 2)), "bias": RNG.normal(size=3), "scale": np.array(0.7)}
POINT = np.array([0.4, -1.3])


def function(weight, bias, scale):
    return float(scale * np.sum(np.tanh(weight @ POINT + bias)))


def written_gradients():
    slope = ARRAYS["scale"] * (1 - np.tanh(ARRAYS["weight"] @ POINT + ARRAYS["bias"]) ** 2)
    total = np.sum(np.tanh(ARRAYS["weight"] @ POINT + ARRAYS["bias"]))
    return {"weight": np.outer(slope, POINT), "bias": slope, "scale": np.array(total)}


def test_agrees_with_a_gradient_known_in_closed_form():
    numerical = central_differences(function, ARRAYS)
    for name, gradient in written_gradients().items():
        np.testing.assert_allclose(numerical[name], gradient, atol=1e-9)
    assert_gradients_close(function, ARRAYS, written_gradients(), tolerance=1e-8)


def test_arguments_are_left_as_they_were():
    before = {name: array.copy() for name, array in ARRAYS.items()}
    central_differences(function, ARRAYS)
    for name in ARRAYS:
        np.testing.assert_array_equal(ARRAYS[name], before[name])


def test_is_exact_for_a_quadratic_whatever_the_step():
    numerical = central_differences(lambda x: float(x**2), {"x": np.array(3.0)}, step=0.5)
    assert numerical["x"] == pytest.approx(6.0, abs=1e-12)


@pytest.mark.parametrize("change", [lambda g: -g, lambda g: 2 * g, lambda g: g + 1e-5])
def test_a_wrong_gradient_is_named_with_its_index(change):
    gradients = written_gradients()
    gradients["weight"][1, 0] = change(gradients["weight"][1, 0])
    with pytest.raises(AssertionError, match=r"'weight' is wrong at index \(1, 0\)"):
        assert_gradients_close(function, ARRAYS, gradients)


def test_a_transposed_gradient_of_a_square_array_is_found():
    weight = RNG.normal(size=(2, 2))

    def bilinear(weight):
        return float(POINT @ weight @ np.array([1.0, 2.0]))

    with pytest.raises(AssertionError, match="'weight' is wrong at index"):
        assert_gradients_close(
            bilinear, {"weight": weight}, {"weight": np.outer([1.0, 2.0], POINT)}
        )


def test_a_large_element_does_not_hide_a_wrong_small_one():
    arrays = {"x": np.array([1e3, 1.0])}
    with pytest.raises(AssertionError, match=r"index \(1,\)"):
        assert_gradients_close(
            lambda x: float(x[0] ** 3 + x[1]), arrays, {"x": np.array([3e6, 1.0001])}, 1e-5
        )


def test_a_gradient_that_is_not_finite_is_wrong():
    gradients = written_gradients()
    gradients["bias"][2] = np.nan
    with pytest.raises(AssertionError, match=r"'bias' is wrong at index \(2,\)"):
        assert_gradients_close(function, ARRAYS, gradients)


def test_errors_are_reported_for_every_array():
    gradients = written_gradients()
    gradients["bias"][1] *= 1.5
    errors = gradient_errors(function, ARRAYS, gradients)
    assert set(errors) == set(ARRAYS)
    assert errors["weight"].absolute < 1e-8 and errors["scale"].relative < 1e-8
    assert errors["bias"].index == (1,)
    assert errors["bias"].relative == pytest.approx(1 / 3, rel=1e-6)


def test_zero_gradients_have_no_relative_error():
    errors = gradient_errors(lambda x: 0.0, {"x": np.zeros(2)}, {"x": np.zeros(2)})
    assert errors["x"] == GradientError(0.0, 0.0, (0,))


@pytest.mark.parametrize(
    ("arrays", "gradients", "message"),
    [
        ({"x": np.zeros(2, np.float32)}, {"x": np.zeros(2)}, "float32; expected float64"),
        ({"x": np.zeros(2)}, {"y": np.zeros(2)}, r"given for \['y'\], expected one for each"),
        ({"x": np.zeros(2)}, {"x": np.zeros(3)}, r"has shape \(3,\), but 'x' has shape \(2,\)"),
    ],
)
def test_bad_input_is_explained(arrays, gradients, message):
    with pytest.raises(ValueError, match=message):
        gradient_errors(lambda x: float(x.sum()), arrays, gradients)


def test_a_point_outside_the_domain_is_explained():
    with pytest.raises(ValueError, match="expected one finite number"), np.errstate(all="ignore"):
        central_differences(lambda x: float(np.log(x)), {"x": np.array(0.0)})


def test_a_step_that_is_not_positive_is_refused():
    with pytest.raises(ValueError, match="step is 0"):
        central_differences(function, ARRAYS, step=0.0)
