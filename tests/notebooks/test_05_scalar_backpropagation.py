"""Notebook 05: the pure Python network, its local derivatives, and the NumPy twin of many seeds."""

import numpy as np
import pytest

from tests.tools.notebook_tools import load_implementation


@pytest.fixture(scope="module")
def lesson():
    return load_implementation("05_scalar_backpropagation")


def random_parameters(seed):
    """Parameters without a zero, as plain lists."""
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).tolist() for shape in ((2, 3), 3, (3, 2), 2)]


def copies(parameters):
    return [np.array(p).tolist() for p in parameters]


def gradients_of(lesson, x, target, parameters, method="backward"):
    h, _, y = lesson.forward(x, *parameters)
    return getattr(lesson, method)(x, target, h, y, parameters[2])


def small_set(count=60):
    rng = np.random.default_rng(0)
    points = rng.normal(size=(count, 2))
    return points, (np.square(points).sum(1) > 1).astype(np.int64)


def test_the_ellipse_set_has_the_quadratic_form_beyond_its_level_as_class_1(lesson):
    ellipse = lesson.generate_ellipse(60_000, seed=0)
    x, y = ellipse.points.T
    np.testing.assert_array_equal(ellipse.labels, x * x + 0.95 * x * y + 0.4 * y * y > 0.6)
    assert ellipse.points.shape == (60_000, 2) and ellipse.labels.dtype == np.int64
    # 5 standard errors of a mean, a variance and a covariance of 60,000 standard normals
    np.testing.assert_allclose(ellipse.points.mean(0), 0, atol=5 / np.sqrt(60_000))
    np.testing.assert_allclose(np.cov(x, y), np.eye(2), atol=5 * np.sqrt(2 / 60_000))
    assert not np.array_equal(ellipse.points, lesson.generate_ellipse(60_000, seed=1).points)


def test_initial_parameters_belong_to_their_seed(lesson):
    first, again, other = map(lesson.initial_parameters, (0, 0, 1))
    assert first == again and first != other
    assert [np.shape(p) for p in first] == [(2, 3), (3,), (3, 2), (2,)]
    assert first[1] == [0.0] * 3 and first[3] == [0.0] * 2
    points = lesson.generate_ellipse(3, seed=0).points
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
    points, _ = small_set()
    parameters = random_parameters(6)
    expected = [lesson.forward(x, *parameters)[2][1] for x in points.tolist()]
    np.testing.assert_allclose(
        lesson.probability(points, *parameters), expected, rtol=0, atol=1e-14
    )


def test_stack_and_unstack_are_inverse(lesson):
    parameters = [random_parameters(seed) for seed in range(5)]
    members = lesson.stack(parameters, np.float64)
    assert [a.shape for a in members] == [(3, 3, 5), (4, 5), (4, 5)]
    for n, expected in enumerate(parameters):
        for found, wanted in zip(lesson.unstack(members, n), expected, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-14)


@pytest.mark.parametrize("kind", ["shuffled", "with replacement", "fixed", "sorted"])
def test_members_train_like_the_pure_python_network(lesson, kind):
    """Two groups with different inputs, the second with the report's gradient."""
    points, labels = small_set()
    transforms = [lambda p: 2 * p + 1, lambda p: p - 0.5]
    seeds = range(3)
    starts = [random_parameters(seed) for seed in seeds]
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
    points, labels = small_set()
    members = lesson.stack([lesson.initial_parameters(seed) for seed in range(4)])
    points = points.astype(np.float32)
    blocks = lesson.sample_blocks([(lambda p: 800 * p, "fixed")], range(4), 0, points, labels)
    assert np.isfinite(lesson.train_members(members, blocks, 0.01)).all()
    assert all(np.isfinite(array).all() for array in members)
