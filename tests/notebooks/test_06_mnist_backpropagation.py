"""Notebook 06: its three gradient codes, its fast step, its trainer and the report's slips."""

import tracemalloc
import warnings
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from helpers.gradient_check import assert_gradients_close
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


def torch_loss_and_gradients(images, labels, parameters):
    leaves = {name: torch.tensor(array, requires_grad=True) for name, array in parameters.items()}
    hidden = torch.sigmoid(torch.tensor(images) @ leaves["W"] + leaves["b"])
    loss = F.cross_entropy(hidden @ leaves["V"] + leaves["c"], torch.tensor(labels))
    loss.backward()
    return loss.item(), {name: leaf.grad.numpy() for name, leaf in leaves.items()}


def assert_same(found, expected, **tolerance):
    assert set(found) == set(NAMES)
    for name in NAMES:
        np.testing.assert_allclose(found[name], expected[name], err_msg=name, **tolerance)


# --- Steps one and two: gradients -----------------------------------------------------------


@pytest.mark.parametrize("function", ["mean_of_images", "batch_gradients"])
@pytest.mark.parametrize("count", [1, 7])
def test_gradients_agree_with_central_differences(lesson, function, count):
    gradients_of = getattr(lesson, function)
    images, labels = random_batch(SMALL, count)
    parameters = random_parameters(SMALL, scale=0.9)
    _, gradients = gradients_of(images, labels, **parameters)
    loss = lambda **arrays: gradients_of(images, labels, **arrays)[0]  # noqa: E731
    assert_gradients_close(loss, parameters, gradients, tolerance=1e-9)


@pytest.mark.parametrize("function", ["mean_of_images", "batch_gradients"])
def test_loss_and_gradients_agree_with_pytorch(lesson, function):
    images, labels = random_batch(SIZES, 9)
    parameters = random_parameters(SIZES)
    expected_loss, expected = torch_loss_and_gradients(images, labels, parameters)
    loss, gradients = getattr(lesson, function)(images, labels, **parameters)
    assert loss == pytest.approx(expected_loss, rel=1e-12)
    assert_same(gradients, expected, rtol=1e-9, atol=1e-15)
    assert all(gradients[name].shape == parameters[name].shape for name in NAMES)


def test_pure_python_agrees_with_numpy(lesson):
    images, labels = random_batch(SMALL, 1)
    parameters = random_parameters(SMALL)
    loss, gradients = lesson.image_gradients(images[0], labels[0], **parameters)
    lists = {name: array.tolist() for name, array in parameters.items()}
    found_loss, found = lesson.pure_python_gradients(images[0].tolist(), labels[0], **lists)
    assert found_loss == pytest.approx(loss, rel=1e-12)
    assert_same(found, gradients, rtol=1e-11, atol=1e-16)


def test_the_mean_of_the_outer_products_is_the_gradient(lesson):
    """Against explicit loops: element (n, i, j) belongs to image n, weight (i, j)."""
    rng = np.random.default_rng(0)
    x, d = rng.normal(size=(3, 4)), rng.normal(size=(3, 2))
    tensor = lesson.outer_products(x, d)
    assert tensor.shape == (3, 4, 2)
    for n, i, j in np.ndindex(tensor.shape):
        assert tensor[n, i, j] == x[n, i] * d[n, j]
    np.testing.assert_allclose(tensor.mean(0), x.T @ d / 3, rtol=1e-12)


def test_batch_code_keeps_float32(lesson):
    images, labels = random_batch(SMALL, 5, dtype=np.float32)
    parameters = random_parameters(SMALL, dtype=np.float32)
    loss, gradients = lesson.batch_gradients(images, labels, **parameters)
    assert {np.asarray(a).dtype for a in (loss, *gradients.values())} == {np.dtype(np.float32)}


# --- Step three: the fast step --------------------------------------------------------------


@pytest.mark.parametrize("sizes", [SMALL, SIZES])
@pytest.mark.parametrize(("count", "room"), [(64, 64), (23, 64), (1, 64)])
def test_a_fast_step_subtracts_the_gradient_of_the_chosen_images(lesson, sizes, count, room):
    """Full and partial batches; the buffers are full of garbage before."""
    images, labels = random_batch(sizes, 90, dtype=np.float32)
    before = random_parameters(sizes, dtype=np.float32)
    after = {name: array.copy() for name, array in before.items()}
    buffers = lesson.make_buffers(room, *sizes)
    for name, array in buffers.items():
        if name not in ("ones", "rows"):
            array.fill(np.nan)
    chosen = np.random.default_rng(1).permutation(90)[:count]
    loss = lesson.fast_step(after, buffers, images, labels, chosen, 0.5)
    wide = {name: array.astype(float) for name, array in before.items()}
    expected_loss, gradients = lesson.batch_gradients(
        images[chosen].astype(float), labels[chosen], **wide
    )
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    change = {name: (wide[name] - after[name]) / 0.5 for name in NAMES}
    assert_same(change, gradients, rtol=1e-3, atol=2e-6)
    assert all(array.dtype == np.float32 for array in after.values())


def test_many_fast_steps_stay_with_the_batch_code(lesson):
    images, labels = random_batch(SIZES, 64 * 4 + 10, dtype=np.float32)
    fast = lesson.initial_parameters("Xavier", np.random.default_rng(0))
    slow = {name: array.copy() for name, array in fast.items()}
    lesson.train(
        fast, images, labels, learning_rate=0.5, epochs=6, generator=np.random.default_rng(2)
    )
    generator = np.random.default_rng(2)
    for _ in range(6):
        for chosen in lesson.shuffled_batches(len(images), 64, generator):
            _, gradients = lesson.batch_gradients(images[chosen], labels[chosen], **slow)
            for name in NAMES:
                slow[name] -= np.float32(0.5) * gradients[name]
    assert_same(fast, slow, rtol=0, atol=2e-5)
    start = lesson.initial_parameters("Xavier", np.random.default_rng(0))
    assert np.abs(fast["W"] - start["W"]).max() > 1e-2  # they did move


def test_a_fast_step_leaves_its_inputs_alone(lesson):
    images, labels = random_batch(SMALL, 20, dtype=np.float32)
    chosen = np.arange(8)
    copies = [array.copy() for array in (images, labels, chosen)]
    parameters = random_parameters(SMALL, dtype=np.float32)
    lesson.fast_step(parameters, lesson.make_buffers(8, *SMALL), images, labels, chosen, 0.1)
    for array, copy in zip((images, labels, chosen), copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_a_fast_step_allocates_less_than_a_layer(lesson):
    images, labels = random_batch(SIZES, 200, dtype=np.float32)
    parameters, buffers = random_parameters(SIZES, dtype=np.float32), lesson.make_buffers(64)
    step = partial(lesson.fast_step, parameters, buffers, images, labels, np.arange(64), 0.1)
    step()
    tracemalloc.start()
    step()
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < buffers["h"].nbytes  # 64 × 300 float32; x and W are larger still
    assert kept < 4096


# --- Safe at the ends -----------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e3, 1e6])
def test_huge_inputs_give_finite_losses_without_warnings(lesson, scale):
    for dtype in (np.float32, np.float64):
        images, labels = random_batch(SMALL, 8, dtype=dtype)
        parameters = random_parameters(SMALL, dtype=dtype, scale=50)
        images = images * dtype(scale)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for function in (lesson.mean_of_images, lesson.batch_gradients):
                loss, gradients = function(images, labels, **parameters)
                assert np.isfinite(loss)
                assert all(np.isfinite(g).all() for g in gradients.values())
            lists = {name: array.tolist() for name, array in parameters.items()}
            loss, _ = lesson.pure_python_gradients(images[0].tolist(), labels[0], **lists)
            assert np.isfinite(loss)


def test_a_fast_step_with_huge_inputs_is_finite_without_warnings(lesson):
    images, labels = random_batch(SMALL, 8, dtype=np.float32)
    parameters = random_parameters(SMALL, dtype=np.float32, scale=50)
    buffers = lesson.make_buffers(8, *SMALL)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        images = images * np.float32(1e6)
        loss = lesson.fast_step(parameters, buffers, images, labels, np.arange(8), 0.1)
    assert np.isfinite(loss) and all(np.isfinite(array).all() for array in parameters.values())


def test_the_sigmoid_at_known_points(lesson):
    found = lesson.sigmoid(np.array([-1e4, -1.0, 0.0, 1.0, 1e4]))
    np.testing.assert_allclose(found, [0, 0.2689414213699951, 0.5, 0.7310585786300049, 1])


# --- Training -------------------------------------------------------------------------------


def test_shuffled_batches_hold_every_index_once_in_a_new_order(lesson):
    generator = np.random.default_rng(0)
    first = lesson.shuffled_batches(150, 64, generator)
    second = lesson.shuffled_batches(150, 64, generator)
    assert [len(batch) for batch in first] == [64, 64, 22]
    for batches in (first, second):
        assert sorted(np.concatenate(batches)) == list(range(150))
    assert not np.array_equal(np.concatenate(first), np.concatenate(second))


def test_the_slip_of_the_order_never_shuffles(lesson):
    batches = lesson.unshuffled_batches(150, 64, np.random.default_rng(0))
    assert [len(batch) for batch in batches] == [64, 64, 22]
    np.testing.assert_array_equal(np.concatenate(batches), np.arange(150))


@pytest.mark.parametrize("count", [200, 193, 192, 55_000])
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


def test_training_uses_the_learning_rate_that_it_is_given(lesson, monkeypatch):
    rates = []
    monkeypatch.setitem(
        lesson.train.__globals__, "fast_step", lambda *arguments: rates.append(arguments[-1]) or 1.0
    )
    images, labels = random_batch(SMALL, 40, dtype=np.float32)
    parameters = random_parameters(SMALL, dtype=np.float32)
    options = {"epochs": 2, "batch_size": 10, "generator": np.random.default_rng(0)}
    lesson.train(parameters, images, labels, learning_rate=0.8, **options)
    assert rates == [0.8] * 8


def test_training_learns_reports_each_epoch_and_repeats_itself(lesson):
    images, _ = random_batch(SMALL, 100, dtype=np.float32)
    labels = images[:, :4].argmax(axis=1)
    runs, seen = [], []
    for _ in range(2):
        parameters = random_parameters(SMALL, dtype=np.float32)
        losses = lesson.train(
            parameters, images, labels, learning_rate=1.0, epochs=60, batch_size=32,
            generator=np.random.default_rng(4), after_epoch=seen.append,
        )  # fmt: skip
        runs.append((losses, parameters))
    assert runs[0][0].shape == (60, 4) and seen == [*range(1, 61)] * 2
    assert runs[0][0][-1].mean() < 0.7 * runs[0][0][0].mean()
    np.testing.assert_array_equal(runs[0][0], runs[1][0])
    for name in NAMES:
        np.testing.assert_array_equal(runs[0][1][name], runs[1][1][name])


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


# --- What is timed does what it says --------------------------------------------------------


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


def test_the_torch_trainer_makes_the_fast_update(lesson):
    images, labels = random_batch(SIZES, 32, dtype=np.float32)
    parameters = random_parameters(SIZES, dtype=np.float32, scale=0.1)
    update = lesson.torch_trainer(parameters, images, labels, 0.3)
    buffers, chosen = lesson.make_buffers(32), np.arange(32)
    lesson.fast_step(parameters, buffers, images, labels, chosen, 0.3)
    update(chosen)
    theirs = [p.detach().numpy().T for p in update.network.parameters()]
    assert_same(dict(zip(NAMES, theirs, strict=True)), parameters, rtol=0, atol=1e-6)


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
