"""Notebook 06: its three gradient codes, its fast step, its trainer and the report's slips."""

import warnings
from functools import partial

import numpy as np
import pytest

from tests.tools.notebook_tools import load_implementation

SIZES = (784, 300, 10)
SMALL = (11, 6, 4)
NAMES = ("W", "b", "V", "c")


@pytest.fixture(scope="module")
def lesson():
    return load_implementation("06_mnist_backpropagation")


def random_parameters(sizes, seed=3, scale=0.4, dtype=np.float64):
    """Weights and biases, all far from zero in the sense that none of them is exactly zero."""
    rng = np.random.default_rng(seed)
    inputs, hidden, outputs = sizes
    shapes = {"W": (inputs, hidden), "b": (hidden,), "V": (hidden, outputs), "c": (outputs,)}
    return {name: (scale * rng.normal(size=shape)).astype(dtype) for name, shape in shapes.items()}


def random_batch(sizes, count, seed=5, dtype=np.float64):
    """Images with some blank pixels, like MNIST's, and labels of which some occur twice."""
    rng = np.random.default_rng(seed)
    images = rng.random((count, sizes[0])) * (rng.random((count, sizes[0])) < 0.3)
    return images.astype(dtype), rng.integers(sizes[2], size=count)


def assert_same(found, expected, **tolerance):
    assert set(found) == set(NAMES)
    for name in NAMES:
        np.testing.assert_allclose(found[name], expected[name], err_msg=name, **tolerance)


def test_pure_python_agrees_with_numpy(lesson):
    images, labels = random_batch(SMALL, 1)
    parameters = random_parameters(SMALL)
    loss, gradients = lesson.image_gradients(images[0], labels[0], **parameters)
    lists = {name: array.tolist() for name, array in parameters.items()}
    found_loss, found = lesson.pure_python_gradients(images[0].tolist(), labels[0], **lists)
    assert found_loss == pytest.approx(loss, rel=1e-12)
    assert_same(found, gradients, rtol=1e-11, atol=1e-16)


def test_training_makes_the_updates_of_the_batch_code_and_reports_each_epoch(lesson):
    images, labels = random_batch(SIZES, 64 * 4 + 10, dtype=np.float32)
    fast = lesson.initial_parameters("Xavier", np.random.default_rng(0))
    slow = {name: array.copy() for name, array in fast.items()}
    seen, expected, generator = [], [], np.random.default_rng(2)
    options = {"generator": np.random.default_rng(2), "after_epoch": seen.append}
    losses = lesson.train(fast, images, labels, learning_rate=0.5, epochs=6, **options)
    for _ in range(6):
        for chosen in lesson.shuffled_batches(len(images), 64, generator):
            loss, gradients = lesson.batch_gradients(images[chosen], labels[chosen], **slow)
            expected.append(loss)
            for name in NAMES:
                slow[name] -= np.float32(0.5) * gradients[name]
    assert_same(fast, slow, rtol=0, atol=2e-5)
    np.testing.assert_allclose(losses, np.reshape(expected, (6, 5)), rtol=1e-4)
    assert seen == [1, 2, 3, 4, 5, 6]
    start = lesson.initial_parameters("Xavier", np.random.default_rng(0))
    assert np.abs(fast["W"] - start["W"]).max() > 1e-2  # they did move


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_huge_inputs_give_finite_losses_without_warnings(lesson, dtype):
    images, labels = random_batch(SMALL, 8, dtype=dtype)
    images, parameters = images * dtype(1e6), random_parameters(SMALL, dtype=dtype, scale=50)
    lists = {name: array.tolist() for name, array in parameters.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results = [
            lesson.mean_of_images(images, labels, **parameters),
            lesson.batch_gradients(images, labels, **parameters),
            lesson.pure_python_gradients(images[0].tolist(), labels[0], **lists),
        ]
        if dtype is np.float32:
            buffers = lesson.make_buffers(8, *SMALL)
            loss = lesson.fast_step(parameters, buffers, images, labels, np.arange(8), 0.1)
            results.append((loss, parameters))
    for loss, gradients in results:
        assert np.isfinite(loss) and all(np.isfinite(g).all() for g in gradients.values())


@pytest.mark.parametrize("count", [200, 193, 192])
def test_the_slip_of_the_batches_is_that_of_the_reports_loop(lesson, count):
    """The report's condition, run literally."""
    expected, collected = [], []
    for i in range(count):
        collected.append(i)
        if i != 0 and i % 64 == 0:
            expected.append(len(collected))
            collected = []
    batches = lesson.report_batches(count, 64, np.random.default_rng(0))
    assert [len(batch) for batch in batches] == expected
    assert expected[0] == 65 and len(set(np.concatenate(batches))) == sum(expected)


@pytest.mark.parametrize("names", ["b", "bVc"])
def test_the_slip_of_the_assignment_leaves_alpha_times_the_gradient(lesson, names):
    images, labels = random_batch(SMALL, 16, dtype=np.float32)
    before = random_parameters(SMALL, dtype=np.float32)
    after, right = ({name: array.copy() for name, array in before.items()} for _ in range(2))
    task = {"learning_rate": 0.25, "epochs": 1, "batch_size": 16}
    slip = lesson.assign_instead(names)
    train = partial(lesson.train, images=images, labels=labels, **task)
    train(after, generator=np.random.default_rng(0), after_update=slip)
    train(right, generator=np.random.default_rng(0))
    _, gradients = lesson.batch_gradients(images, labels, **before)
    for name in NAMES:
        expected = 0.25 * gradients[name] if name in names else right[name]
        np.testing.assert_allclose(after[name], expected, rtol=1e-4, atol=1e-6)


def test_evaluation_in_pieces_is_that_of_the_whole(lesson):
    images, _ = random_batch(SMALL, 53)
    parameters = random_parameters(SMALL, scale=3)
    h, log_y = lesson.forward(images, **parameters)
    labels = log_y.argmax(axis=1)
    labels[::4] = (labels[::4] + 1) % SMALL[2]  # 14 of 53 are answered wrongly
    found = lesson.evaluate(parameters, images, labels, piece=10)
    loss, _ = lesson.batch_gradients(images, labels, **parameters)
    np.testing.assert_allclose(np.exp(log_y).sum(1), 1)
    assert found["loss"] == pytest.approx(loss, rel=1e-12)
    assert found["accuracy"] == pytest.approx(39 / 53)
    assert found["saturated"] == pytest.approx(np.mean(h * (1 - h) < 0.01))
    assert 0 < found["saturated"] < 1


def test_initial_parameters(lesson):
    drawn = {
        kind: lesson.initial_parameters(kind, np.random.default_rng(0))
        for kind in ("N(0, 1)", "Xavier")
    }
    stds = {"N(0, 1)": (1, 1), "Xavier": ((2 / 1084) ** 0.5, (2 / 310) ** 0.5)}
    for kind, parameters in drawn.items():
        assert [parameters[n].shape for n in NAMES] == [(784, 300), (300,), (300, 10), (10,)]
        assert all(array.dtype == np.float32 for array in parameters.values())
        assert parameters["W"].std() == pytest.approx(stds[kind][0], rel=0.02)
        assert parameters["V"].std() == pytest.approx(stds[kind][1], rel=0.05)
        assert not parameters["b"].any() and not parameters["c"].any()
    again = lesson.initial_parameters("Xavier", np.random.default_rng(1))
    assert not np.array_equal(again["W"], drawn["Xavier"]["W"])


def test_all_timed_trainers_have_the_same_losses(lesson):
    images, labels = random_batch(SIZES, 64, dtype=np.float32)
    contenders = lesson.make_contenders(images, labels, batch_size=16, learning_rate=0.3)
    batches = np.random.default_rng(0).permutation(64).reshape(4, 16)
    losses = {
        name: [float(update(chosen)) for chosen in batches]
        for name, (update, _) in contenders.items()
        if name not in ("pure Python", "matrix products")
    }
    assert len(losses) == 4
    for name, found in losses.items():
        np.testing.assert_allclose(found, losses["NumPy, an image"], rtol=1e-4, err_msg=name)


def test_the_floor_consists_of_the_five_products(lesson):
    rng = np.random.default_rng(0)
    parameters = random_parameters(SMALL, dtype=np.float32)
    buffers = lesson.make_buffers(8, *SMALL)
    buffers["x"][:] = rng.random((8, SMALL[0]))
    lesson.matrix_products(parameters, buffers)
    x, h, y, dh = (buffers[name] for name in ("x", "h", "y", "dh"))
    for found, expected in (
        (h, x @ parameters["W"]),
        (y, h @ parameters["V"]),
        (dh, y @ parameters["V"].T),
        (buffers["V"], h.T @ y),
        (buffers["W"], x.T @ dh),
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


def test_rates_count_the_images_of_the_fastest_round(lesson, monkeypatch):
    """A clock that counts: pure Python handles an image a call, the others a batch."""
    now = iter(np.arange(0, 1000, 0.5))
    monkeypatch.setattr(lesson.time, "perf_counter", lambda: next(now))
    contenders = {"pure Python": (lambda chosen: None, 1), "other": (lambda chosen: None, 3)}
    rates = lesson.images_per_second(contenders, count=100, rounds=2, batch_size=8)
    assert rates == {"pure Python": 2.0, "other": 48.0}
