"""Notebook 05: the pure Python network, its local derivatives, and the NumPy twin of many seeds."""

import math
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from helpers.datasets import generate_ellipse
from helpers.gradient_check import assert_gradients_close
from tests.tools.notebook_tools import load_implementation

NAMES = ("W", "b", "V", "c")
HANDOUT = (
    [[1.0, 1.0, 1.0], [-1.0, -1.0, -1.0]],
    [0.0, 0.0, 0.0],
    [[1.0, 1.0], [-1.0, -1.0], [-1.0, -1.0]],
    [0.0, 0.0],
)
SIZES = [(2, 3, 2), (1, 1, 2), (4, 5, 3)]  # inputs, hidden units, outputs


@pytest.fixture(scope="module")
def lesson():
    return load_implementation("05_scalar_backpropagation")


def random_case(sizes=(2, 3, 2), seed=0):
    """A sample, its class, and parameters without a zero, as plain lists."""
    inputs, hidden, outputs = sizes
    rng = np.random.default_rng([seed, *sizes])
    shapes = ((inputs, hidden), hidden, (hidden, outputs), outputs)
    parameters = [rng.normal(size=shape).tolist() for shape in shapes]
    return rng.normal(size=inputs).tolist(), int(rng.integers(outputs)), parameters


def copies(parameters):
    return [np.array(p).tolist() for p in parameters]


def gradients_of(lesson, x, target, parameters, method="backward"):
    h, _, y = lesson.forward(x, *parameters)
    return getattr(lesson, method)(x, target, h, y, parameters[2])


@pytest.mark.parametrize("z", [-1000.0, -745.5, -30.0, -0.5, 0.0, 0.5, 30.0, 745.5, 1000.0])
def test_sigmoid_is_right_and_safe(lesson, z):
    expected = torch.sigmoid(torch.tensor(z, dtype=torch.float64)).item()
    assert lesson.sigmoid(z) == pytest.approx(expected, rel=1e-14, abs=1e-300)


@pytest.mark.parametrize(
    "o", [[1000.0, -1000.0, 0.0], [-1000.0, -1000.0], [1000.0, 1000.0], [0.3, -2.0, 1.1, 0.0]]
)
def test_softmax_and_cross_entropy_are_right_and_safe(lesson, o):
    logits = torch.tensor([o], dtype=torch.float64)
    y = lesson.softmax(o)
    assert all(math.isfinite(y_i) for y_i in y) and sum(y) == pytest.approx(1, abs=1e-15)
    np.testing.assert_allclose(y, torch.softmax(logits, 1)[0], rtol=1e-14)
    for target in range(len(o)):
        expected = F.cross_entropy(logits, torch.tensor([target])).item()
        assert lesson.cross_entropy(o, target) == pytest.approx(expected, rel=1e-14, abs=1e-15)


def test_local_derivatives_agree_with_central_differences(lesson):
    o = [0.4, -1.2, 0.9]
    y = lesson.softmax(o)
    for i in range(3):
        row = {"o": lesson.dy_do_local(y)[i]}
        assert_gradients_close(lambda o, i=i: lesson.softmax(o)[i], {"o": np.array(o)}, row, 1e-9)
        slope = {"y": lesson.dloss_dy_local(y, i)}
        assert_gradients_close(lambda y, i=i: -math.log(y[i]), {"y": np.array(y)}, slope, 1e-8)


def test_dloss_dy_finds_the_target_among_equal_outputs(lesson):
    assert lesson.dloss_dy_local([0.5, 0.5], 1) == [0.0, -2.0]


@pytest.mark.parametrize("target", range(3))
def test_both_routes_to_the_logits_agree_with_central_differences(lesson, target):
    o = [0.4, -1.2, 0.9]
    y = lesson.softmax(o)
    for found in (
        lesson.through_softmax(lesson.dloss_dy_local(y, target), y),
        lesson.dloss_do_combined(y, target),
    ):
        assert_gradients_close(
            partial(lesson.cross_entropy, target=target), {"o": np.array(o)}, {"o": found}, 1e-8
        )


def test_through_softmax_sums_over_outputs_of_any_loss(lesson):
    """A loss that reads every probability, so that no term of the sum is 0."""
    o, weights = [0.4, -1.2, 0.9], [0.7, -0.3, 2.0]
    found = lesson.through_softmax(weights, lesson.softmax(o))
    assert_gradients_close(
        lambda o: np.dot(weights, lesson.softmax(o)), {"o": np.array(o)}, {"o": found}, 1e-9
    )


def test_the_handout_case(lesson):
    x, target = [1.0, -1.0], 0
    h, o, y = lesson.forward(x, *HANDOUT)
    assert lesson.cross_entropy(o, target) == pytest.approx(0.6931471805599453, abs=1e-15)
    dW, db, dV, dc = map(np.array, lesson.backward(x, target, h, y, HANDOUT[2]))
    expected = [[-0.4403985389889412, 0.4403985389889412]] * 3
    np.testing.assert_allclose(dV, expected, rtol=0, atol=1e-15)
    np.testing.assert_allclose(dc, [-0.5, 0.5], rtol=0, atol=1e-15)
    assert dW.shape == (2, 3) and db.shape == (3,)
    assert not dW.any() and not db.any()


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("seed", range(4))
def test_gradients_agree_with_central_differences(lesson, sizes, seed):
    x, target, parameters = random_case(sizes, seed)
    arrays = dict(zip(NAMES, map(np.array, parameters), strict=True))
    found = dict(zip(NAMES, gradients_of(lesson, x, target, parameters), strict=True))
    assert_gradients_close(partial(lesson.loss_of, x, target), arrays, found, tolerance=1e-8)


@pytest.mark.parametrize("sizes", SIZES)
def test_forward_and_gradients_agree_with_pytorch(lesson, sizes):
    x, target, parameters = random_case(sizes, seed=9)
    W, b, V, c = (torch.tensor(np.array(p), requires_grad=True) for p in parameters)
    hidden = torch.sigmoid(torch.tensor(x, dtype=torch.float64) @ W + b)
    logits = hidden @ V + c
    F.cross_entropy(logits[None], torch.tensor([target])).backward()
    h, o, y = lesson.forward(x, *parameters)
    np.testing.assert_allclose(h, hidden.detach(), rtol=0, atol=1e-14)
    np.testing.assert_allclose(o, logits.detach(), rtol=0, atol=1e-14)
    np.testing.assert_allclose(y, torch.softmax(logits, 0).detach(), rtol=0, atol=1e-14)
    for found, auto in zip(gradients_of(lesson, x, target, parameters), (W, b, V, c), strict=True):
        np.testing.assert_allclose(found, auto.grad, rtol=0, atol=1e-13)


def test_the_walk_carries_the_gradient_to_every_node(lesson):
    x, target, parameters = random_case(seed=2)
    W, b, V, c = map(np.array, parameters)
    nodes = {"x": torch.tensor(x, dtype=torch.float64, requires_grad=True)}
    nodes["z"] = nodes["x"] @ torch.tensor(W) + torch.tensor(b)
    nodes["h"] = torch.sigmoid(nodes["z"])
    nodes["o"] = nodes["h"] @ torch.tensor(V) + torch.tensor(c)
    nodes["y"] = torch.softmax(nodes["o"], 0)
    for node in list(nodes.values())[1:]:
        node.retain_grad()
    (-nodes["y"][target].log()).backward()
    walked = lesson.walk(x, target, *parameters)
    assert list(walked) == ["y", "o", "h", "z", "x"]
    for name, (values, found) in walked.items():
        np.testing.assert_allclose(values, nodes[name].detach(), rtol=0, atol=1e-14)
        np.testing.assert_allclose(found, nodes[name].grad, rtol=0, atol=1e-13)


def test_update_moves_every_parameter_against_its_gradient(lesson):
    x, target, parameters = random_case(seed=3)
    before = copies(parameters)
    found = gradients_of(lesson, x, target, parameters)
    lesson.update(parameters, found, 0.25)
    for new, old, slope in zip(parameters, before, found, strict=True):
        np.testing.assert_allclose(new, np.array(old) - 0.25 * np.array(slope), rtol=0, atol=1e-14)


@pytest.mark.parametrize("seed", range(8))
def test_update_descends(lesson, seed):
    """The loss falls by rate · |gradient|², to first order."""
    x, target, parameters = random_case(seed=seed)
    before, rate = lesson.loss_of(x, target, *parameters), 1e-5
    found = gradients_of(lesson, x, target, parameters)
    squared = sum((np.array(slope) ** 2).sum() for slope in found)
    lesson.update(parameters, found, rate)
    fall = before - lesson.loss_of(x, target, *parameters)
    assert fall == pytest.approx(rate * squared, rel=1e-3)


def test_the_report_passes_the_handout_case_and_fails_another(lesson):
    case = ([1.0, -1.0], 0, HANDOUT)
    right = gradients_of(lesson, *case)
    report = gradients_of(lesson, *case, method="report_backward")
    assert all(map(np.array_equal, right, report))
    case = random_case(seed=1)
    (dW, db, dV, dc), report = (
        gradients_of(lesson, *case),
        gradients_of(lesson, *case, method="report_backward"),
    )
    assert np.abs(np.array(dW) - report[0]).max() > 1e-3
    assert np.abs(np.array(db) - report[1]).max() > 1e-3
    np.testing.assert_allclose(report[2], dV)
    np.testing.assert_allclose(report[3], dc)
    assert lesson.report_deriv_loss([0.5, 0.5], 0) == [-2.0, -2.0]


def small_set(lesson, count=60):
    rng = np.random.default_rng(0)
    points = rng.normal(size=(count, 2))
    return points, (np.square(points).sum(1) > 1).astype(np.int64)


def test_train_epoch_takes_one_step_per_sample_in_the_given_order(lesson):
    points, labels = small_set(lesson)
    order = lesson.sample_order("shuffled", 4, 0, labels)
    parameters, expected, losses = lesson.initial_parameters(4), lesson.initial_parameters(4), []
    mean = lesson.train_epoch(parameters, points.tolist(), labels.tolist(), order.tolist(), 0.1)
    for n in order:
        x, target = points[n].tolist(), int(labels[n])
        losses.append(lesson.loss_of(x, target, *expected))
        lesson.update(expected, gradients_of(lesson, x, target, expected), 0.1)
    assert mean == pytest.approx(np.mean(losses), rel=1e-12)
    for found, wanted in zip(parameters, expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-14)


def test_training_lowers_the_loss(lesson):
    points, labels = small_set(lesson, 400)
    data = (points.tolist(), labels.tolist(), range(400))
    parameters = lesson.initial_parameters(0)
    losses = [lesson.train_epoch(parameters, *data, 0.1) for _ in range(40)]
    assert losses[-1] < 0.5 * losses[0]
    right = (lesson.probability(points, *parameters) > 0.5) == labels
    assert right.mean() > 0.85


def test_initial_parameters_belong_to_their_seed(lesson):
    first, again, other = map(lesson.initial_parameters, (0, 0, 1))
    assert first == again and first != other
    assert [np.shape(p) for p in first] == [(2, 3), (3,), (3, 2), (2,)]
    assert first[1] == [0.0] * 3 and first[3] == [0.0] * 2
    points = generate_ellipse(3, seed=0).points
    assert not np.isin(first[0], points).any()  # the data set has numbers of its own
    weights = [w for seed in range(300) for w in np.ravel(lesson.initial_parameters(seed)[0])]
    assert np.mean(weights) == pytest.approx(0, abs=0.1)
    assert np.std(weights) == pytest.approx(1, abs=0.1)


def test_orders(lesson):
    labels = np.array([1, 0, 1, 1, 0, 0, 1, 0] * 50)
    numbers = np.arange(400)
    shuffled = lesson.sample_order("shuffled", 0, 0, labels)
    assert np.array_equal(np.sort(shuffled), numbers) and not np.array_equal(shuffled, numbers)
    assert np.array_equal(shuffled, lesson.sample_order("shuffled", 0, 0, labels))
    for other in ((1, 0), (0, 1)):
        assert not np.array_equal(shuffled, lesson.sample_order("shuffled", *other, labels))
    drawn = lesson.sample_order("with replacement", 0, 0, labels)
    assert 0.55 < len(np.unique(drawn)) / 400 < 0.72 and drawn.min() >= 0 and drawn.max() < 400
    assert np.array_equal(lesson.sample_order("fixed", 0, 0, labels), numbers)
    in_classes = labels[lesson.sample_order("sorted", 0, 0, labels)]
    assert np.array_equal(in_classes, np.sort(labels))


def test_probability_is_that_of_the_forward_pass(lesson):
    points, _ = small_set(lesson)
    parameters = random_case(seed=6)[2]
    expected = [lesson.forward(x, *parameters)[2][1] for x in points.tolist()]
    np.testing.assert_allclose(
        lesson.probability(points, *parameters), expected, rtol=0, atol=1e-14
    )


def test_stack_and_unstack_are_inverse(lesson):
    parameters = [random_case(seed=seed)[2] for seed in range(5)]
    members = lesson.stack(parameters, np.float64)
    assert [a.shape for a in members] == [(3, 3, 5), (4, 5), (4, 5)]
    for n, expected in enumerate(parameters):
        for found, wanted in zip(lesson.unstack(members, n), expected, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-14)


@pytest.mark.parametrize("kind", ["shuffled", "with replacement", "fixed", "sorted"])
def test_members_train_like_the_pure_python_network(lesson, kind):
    """Two groups with different inputs, the second with the report's gradient."""
    points, labels = small_set(lesson)
    transforms = [lambda p: 2 * p + 1, lambda p: p - 0.5]
    seeds = range(3)
    starts = [random_case(seed=seed)[2] for seed in seeds]
    members = lesson.stack(starts * 2, np.float64)
    blocks = lesson.sample_blocks([(t, kind) for t in transforms], seeds, 2, points, labels, size=7)
    losses = lesson.train_members(members, blocks, 0.1, wrong=3)
    for n in range(6):
        parameters, total = copies(starts[n % 3]), 0.0
        for i in lesson.sample_order(kind, n % 3, 2, labels):
            x, target = transforms[n // 3](points[i]).tolist(), int(labels[i])
            total += lesson.loss_of(x, target, *parameters)
            method = "report_backward" if n >= 3 else "backward"
            found = gradients_of(lesson, x, target, parameters, method)
            lesson.update(parameters, found, 0.1)
        assert losses[n] == pytest.approx(total / len(labels), rel=1e-10)
        for found, wanted in zip(lesson.unstack(members, n), parameters, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-11)


def test_members_survive_saturation(lesson):
    """Inputs far out give e^800; neither the losses nor the weights may become NaN."""
    points, labels = small_set(lesson)
    members = lesson.stack([lesson.initial_parameters(seed) for seed in range(4)])
    points = points.astype(np.float32)
    blocks = lesson.sample_blocks([(lambda p: 800 * p, "fixed")], range(4), 0, points, labels)
    assert np.isfinite(lesson.train_members(members, blocks, 0.01)).all()
    assert all(np.isfinite(array).all() for array in members)
