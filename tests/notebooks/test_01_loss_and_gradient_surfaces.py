"""Notebook 01: losses, derivatives and descent against PyTorch, at points of their own."""

import itertools
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.tools.notebook_tools import load_implementation

ACTIVATIONS = {"sigmoid": torch.sigmoid, "ReLU": torch.relu, "linear": lambda s: s}
LOSSES = {"L2": F.mse_loss, "CE": F.binary_cross_entropy}
PAIRS = list(itertools.product(ACTIVATIONS, LOSSES))


@pytest.fixture(scope="module")
def book():
    return load_implementation("01_loss_and_gradient_surfaces")


def random_points(activation, loss, count=200):
    """Random w, b, x and y; s inside (0.02, 0.98) where the loss needs a probability."""
    rng = np.random.default_rng(20)
    w, s = rng.normal(scale=2, size=count), rng.normal(scale=3, size=count)
    if loss == "CE" and activation != "sigmoid":
        s = rng.uniform(0.02, 0.98, size=count)
    x, y = float(rng.choice([-1.7, 0.6, 2.3])), float(rng.uniform(0.05, 0.95))
    return w, s - w * x, x, y


def torch_loss(w, b, x, y, activation, loss):
    output = ACTIVATIONS[activation](w * x + b)
    return LOSSES[loss](output, torch.full_like(output, y), reduction="none")


@pytest.mark.parametrize(("activation", "loss"), PAIRS)
def test_losses_and_gradients_equal_pytorch(book, activation, loss):
    w, b, x, y = random_points(activation, loss)
    tensors = [torch.tensor(array, requires_grad=True) for array in (w, b)]
    values = torch_loss(*tensors, x, y, activation, loss)
    values.sum().backward()
    written = book.neuron_gradients(w, b, x, y, activation, loss)
    computed = book.neuron_loss(w, b, x, y, activation, loss)
    np.testing.assert_allclose(computed, values.detach(), rtol=1e-9, atol=1e-12)
    for name, tensor in zip("wb", tensors, strict=True):
        np.testing.assert_allclose(written[name], tensor.grad, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("activation", ["linear", "sigmoid"])
@pytest.mark.parametrize("loss", LOSSES)
def test_the_curvature_gives_pytorchs_hessian(book, activation, loss):
    w, b, x, y = random_points(activation, loss, count=10)
    curvatures = book.curvature(w * x + b, y, activation, loss)
    assert curvatures.shape == (10,)
    for found, *point in zip(curvatures, w, b, strict=True):
        expected = torch.autograd.functional.hessian(
            lambda p: torch_loss(p[0], p[1], x, y, activation, loss), torch.tensor(point)
        )
        hessian = found * np.array([[x * x, x], [x, 1]])
        np.testing.assert_allclose(hessian, expected, rtol=1e-6, atol=1e-9)


def test_the_sigmoid_far_out(book):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = book.sigmoid(np.array([-700.0, -30.0, 30.0, 700.0]))
        slopes = book.sigmoid_slope(np.array([-12.0, 12.0]))
    np.testing.assert_allclose(values[1], np.exp(-30), rtol=1e-12)
    assert values[0] < 1e-300 and values[3] == 1
    np.testing.assert_allclose(slopes, np.exp(-12), rtol=1e-4)


@pytest.mark.parametrize("activation", ["ReLU", "linear"])
def test_cross_entropy_is_undefined_outside_the_strip_and_without_a_warning(book, activation):
    s = np.array([-2.0, -1e-12, 0.0, 1e-12, 0.5, 1 - 1e-12, 1.0, 1.5, 40.0])
    defined = [False, False, False, True, True, True, False, False, False]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss = book.neuron_loss(s, 0.0, 1.0, 0.5, activation, "CE")
        gradients = book.neuron_gradients(s, 0.0, 1.0, 0.5, activation, "CE")
        curvature = book.curvature(s, 0.5, "linear", "CE")
    for values in (loss, gradients["w"], gradients["b"], curvature):
        np.testing.assert_array_equal(np.isfinite(values), defined)
        assert np.isnan(values[~np.array(defined)]).all()


def plain_descent(w, b, x, y, activation, loss, learning_rate, limit):
    """Count the steps of torch.optim.SGD for one start; inf if the limit does not suffice."""
    parameters = [torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (w, b)]
    optimizer = torch.optim.SGD(parameters, lr=learning_rate)
    for step in range(limit + 1):
        output = ACTIVATIONS[activation](parameters[0] * x + parameters[1])
        if abs(output.item() - y) < 0.01:
            return step
        optimizer.zero_grad()
        torch_loss(*parameters, x, y, activation, loss).backward()
        optimizer.step()
    return np.inf


@pytest.mark.parametrize("loss", LOSSES)
def test_steps_equal_those_of_a_plain_optimiser(book, loss):
    w, b = np.array([[2.0, -1.5], [0.1, 4.0]]), np.array([[1.0, 0.5], [-0.4, 3.0]])
    arguments = (1.3, 0.4, "sigmoid", loss, 0.3, 400)
    steps = book.steps_to_target(w, b, *arguments)
    expected = [plain_descent(*start, *arguments) for start in zip(w.flat, b.flat, strict=True)]
    np.testing.assert_array_equal(steps, np.reshape(expected, w.shape))
    np.testing.assert_array_equal(w, [[2.0, -1.5], [0.1, 4.0]])  # the starts are left alone


def test_starts_that_do_not_arrive_are_told_apart(book):
    s = np.array([-1.0, 0.01, 0.45, 2.0])
    l2 = book.steps_to_target(s, 0.0, 1.0, 0.5, "ReLU", "L2", 0.1, 50)
    assert l2[0] == np.inf and np.isfinite(l2[1:]).all()  # the first is dead
    cross_entropy = book.steps_to_target(s, 0.0, 1.0, 0.5, "ReLU", "CE", 0.1, 50)
    assert np.isnan(cross_entropy[[0, 1, 3]]).all()  # outside, thrown out, outside
    assert np.isfinite(cross_entropy[2])
    assert book.steps_to_target(4.0, 0.0, 1.0, 0.5, "sigmoid", "L2", 0.1, 10) == np.inf


def test_what_passes_the_target_and_does_not_stay_has_not_arrived(book):
    # From s = 4.5 a step at rate 4.5 lands near 0; above the limit of 4 it is thrown out again.
    w, b = book.descend([4.5 * 0.9778], [0.0], 1.0, 0.5, "sigmoid", "CE", 4.5, 400)
    near = np.abs(book.sigmoid(w + b) - 0.5) < 0.01
    assert near[1] and not near[-1]
    arguments = (4.5 * 0.9778, 0.0, 1.0, 0.5, "sigmoid", "CE")
    assert book.steps_to_target(*arguments, 4.5, 400) == np.inf
    assert np.isfinite(book.steps_to_target(*arguments, 3.0, 400))


def test_starts_and_rates_broadcast(book):
    s, rates = np.array([0.5, 2.0, 3.0]), np.array([[0.3], [0.9]])
    together = book.steps_to_target(s, 0.0, 1.0, 0.5, "sigmoid", "L2", rates, 200)
    assert together.shape == (2, 3)
    for row, rate in zip(together, rates[:, 0], strict=True):
        alone = [book.steps_to_target(x, 0.0, 1.0, 0.5, "sigmoid", "L2", rate, 200) for x in s]
        np.testing.assert_array_equal(row, alone)


def test_the_limit_is_the_last_step_that_counts(book):
    needed = book.steps_to_target(2.0, 0.0, 1.0, 0.5, "sigmoid", "CE", 0.1, 1000)
    arguments = (2.0, 0.0, 1.0, 0.5, "sigmoid", "CE", 0.1)
    assert book.steps_to_target(*arguments, int(needed)) == needed
    assert book.steps_to_target(*arguments, int(needed) - 1) == np.inf


def test_paths_reach_the_textbook_outputs(book):
    starts = np.array([0.6, 2.0]), np.array([0.9, 2.0])
    w, b = book.descend(*starts, 1, 0, "sigmoid", "L2", 0.075, 300)
    # The book's quadratic cost is half of ours; it prints these two outputs.
    np.testing.assert_allclose(book.sigmoid(w[-1] + b[-1]), [0.09, 0.20], atol=0.005)
