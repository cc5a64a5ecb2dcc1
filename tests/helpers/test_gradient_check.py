"""Central differences find right gradients right and wrong ones wrong."""

import numpy as np
import pytest

from helpers.gradient_check import assert_gradients_close, central_differences

RNG = np.random.default_rng(0)
ARRAYS = {"weight": RNG.normal(size=(3, 2)), "bias": RNG.normal(size=3), "scale": np.array(0.7)}
POINT = np.array([0.4, -1.3])


def function(weight, bias, scale):
    return float(scale * np.sum(np.tanh(weight @ POINT + bias)))


def written_gradients():
    hidden = np.tanh(ARRAYS["weight"] @ POINT + ARRAYS["bias"])
    slope = ARRAYS["scale"] * (1 - hidden**2)
    return {"weight": np.outer(slope, POINT), "bias": slope, "scale": np.array(hidden.sum())}


def test_agrees_with_a_gradient_known_in_closed_form_and_changes_no_argument():
    before = {name: array.copy() for name, array in ARRAYS.items()}
    numerical = central_differences(function, ARRAYS)
    for name, gradient in written_gradients().items():
        np.testing.assert_allclose(numerical[name], gradient, atol=1e-9)
        np.testing.assert_array_equal(ARRAYS[name], before[name])
    assert_gradients_close(function, ARRAYS, written_gradients(), tolerance=1e-8)


WRONG = [lambda g: -g, lambda g: 2 * g, lambda g: g + 1e-5, lambda g: g * np.nan]


@pytest.mark.parametrize("change", WRONG)
def test_a_wrong_gradient_is_named_with_its_index(change):
    gradients = written_gradients()
    wrong = change(gradients["weight"][1, 0])
    gradients["weight"][1, 0] = wrong
    message = rf"'weight' is wrong at index \(1, 0\): written {wrong:.9g}, central differences"
    with pytest.raises(AssertionError, match=message):
        assert_gradients_close(function, ARRAYS, gradients)


def test_a_large_element_does_not_hide_a_wrong_small_one():
    arrays = {"x": np.array([1e3, 1.0])}
    with pytest.raises(AssertionError, match=r"index \(1,\)"):
        assert_gradients_close(
            lambda x: float(x[0] ** 3 + x[1]), arrays, {"x": np.array([3e6, 1.0001])}, 1e-5
        )


def test_the_error_of_a_large_element_counts_relatively():
    arrays = {"x": np.array(1e3)}
    assert_gradients_close(lambda x: float(x**3), arrays, {"x": np.array(3e6 + 1)}, 1e-6)


@pytest.mark.parametrize(
    ("arrays", "gradients", "message"),
    [
        ({"x": np.ones(2, np.float32)}, {"x": np.ones(2)}, "float32; expected float64"),
        ({"x": np.ones(2)}, {"y": np.ones(2)}, "'x': gradient's shape None, array's shape"),
        ({"x": np.ones(2)}, {"x": np.ones(3)}, r"'x': gradient's shape \(3,\), array's"),
        ({"x": np.zeros(2)}, {"x": np.ones(2)}, "'x' at index .0,.; expected one finite number"),
    ],
)
def test_bad_input_is_explained(arrays, gradients, message):
    with pytest.raises(ValueError, match=message), np.errstate(all="ignore"):
        assert_gradients_close(lambda x: float(np.log(x).sum()), arrays, gradients)
