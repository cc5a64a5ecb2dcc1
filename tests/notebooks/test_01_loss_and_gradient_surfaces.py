"""Notebook 01: losses and hand-written derivatives against PyTorch, at points of their own."""

import itertools
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.tools.notebook_tools import load_implementation

ACTIVATIONS = {"sigmoid": torch.sigmoid, "ReLU": torch.relu, "linear": lambda s: s}
LOSSES = {"L2": F.mse_loss, "CE": F.binary_cross_entropy}
PAIRS = list(itertools.product(ACTIVATIONS, LOSSES))
W, B = np.meshgrid(np.linspace(-2, 2, 21), np.linspace(-1, 3, 25))


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
def test_hessians_equal_pytorch(book, activation, loss):
    w, b, x, y = random_points(activation, loss, count=10)
    written = book.hessian(w, b, x, y, activation, loss)
    assert written.shape == (10, 2, 2)
    for found, *point in zip(written, w, b, strict=True):
        expected = torch.autograd.functional.hessian(
            lambda p: torch_loss(p[0], p[1], x, y, activation, loss), torch.tensor(point)
        )
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


def test_sigmoid_of_large_arguments_neither_overflows_nor_leaves_its_range(book):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = book.sigmoid(np.array([-1e4, -800.0, -30.0, 30.0, 800.0]))
        slopes = book.sigmoid_slope(np.array([-40.0, 40.0]))
    np.testing.assert_allclose(values[2], np.exp(-30), rtol=1e-12)
    assert (values[:2] == 0).all() and values[4] == 1
    np.testing.assert_allclose(slopes, np.exp(-40), rtol=1e-12)


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


@pytest.mark.parametrize("y", [0.1, 0.5, 0.8])
def test_extrema_of_the_l2_gradient(book, y):
    extrema = book.l2_gradient_extrema(y)
    s = np.linspace(-8, 8, 160_001)
    gradient = book.neuron_gradients(s, 0.0, 1.0, y, "sigmoid", "L2")["w"]
    found = [s[gradient.argmin()], s[gradient.argmax()]]
    np.testing.assert_allclose(extrema, found, atol=2e-4)


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


def test_an_output_at_its_target_has_arrived_even_where_the_loss_is_undefined(book):
    assert book.steps_to_target(1.003, 0.0, 1.0, 0.995, "linear", "CE", 0.1, 5) == 0


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


@pytest.mark.parametrize("classes", [2, 10])
def test_softmax_and_its_losses_equal_pytorch(book, classes):
    rng = np.random.default_rng(classes)
    logits = rng.normal(scale=4, size=(30, classes))
    target = np.eye(classes)[rng.integers(classes, size=30)]
    z, t = torch.tensor(logits, requires_grad=True), torch.tensor(target)
    np.testing.assert_allclose(book.softmax(logits), z.detach().softmax(-1), rtol=1e-12)
    losses = {
        "cross_entropy": F.cross_entropy(z, t, reduction="none"),
        "l2": F.mse_loss(z.softmax(-1), t, reduction="none").sum(-1),
    }
    for name, expected in losses.items():
        value = getattr(book, f"softmax_{name}")(logits, target)
        gradient = getattr(book, f"softmax_{name}_gradient")(logits, target)
        np.testing.assert_allclose(value, expected.detach(), rtol=1e-9, atol=1e-12)
        (automatic,) = torch.autograd.grad(expected.sum(), z)
        np.testing.assert_allclose(gradient, automatic, atol=1e-12)


def test_softmax_of_large_logits_is_finite(book):
    logits, target = np.array([[1000.0, 0.0, -1000.0]]), np.array([[0.0, 1.0, 0.0]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(book.softmax(logits), [[1, 0, 0]])
        assert book.softmax_cross_entropy(logits, target) == pytest.approx(1000)
    np.testing.assert_allclose(book.softmax(logits + 7), book.softmax(logits))


def coloured_share(book, values, z_range):
    """Share of the picture that a surface over w and b covers, seen from above."""
    axes = plt.figure(figsize=(3, 3)).add_subplot(projection="3d")
    book.plot_surface(axes, W, B, values, title="loss", z_range=z_range)
    axes.view_init(90, -90)
    axes.figure.canvas.draw()
    rgb = np.asarray(axes.figure.canvas.buffer_rgba())[..., :3].astype(int)
    plt.close(axes.figure)
    return float((np.ptp(rgb, axis=-1) > 40).mean())  # grey axes and labels have no saturation


def test_a_surface_has_a_hole_where_it_is_undefined_or_out_of_range(book):
    whole = coloured_share(book, W, (-2, 2))  # to both ends of the range
    half = np.where(W > 0.1, np.nan, W)
    cases = ((half, None), (half, (-2, 2)), (W, (-2, 0)), (W, (0, 2)))
    for share in (coloured_share(book, *case) for case in cases):
        assert 0.4 * whole < share < 0.6 * whole
    assert whole > 0.1 and not np.isnan(W).any()  # it was drawn, and the values were left alone
