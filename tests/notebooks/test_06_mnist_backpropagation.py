"""Notebook 06: its gradients, its trainer, the versions that are timed, and the report's slips."""

import warnings
from functools import partial

import numpy as np
import pytest

from tests.tools.notebook_tools import load_implementation

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
    assert set(found) == set(expected)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], err_msg=name, **tolerance)


def test_a_run_makes_the_updates_of_the_batch_code_and_looks_when_it_is_asked(lesson):
    data = random_batch((784, 300, 10), 64 * 3 + 10, dtype=np.float32)
    common = {"data": data, "checks": {"all": data}, "epochs": 2}
    found = lesson.run("Xavier", 0.5, 7, **common)
    generator = np.random.default_rng(7)
    slow = lesson.initial_parameters("Xavier", generator)
    seen, losses = [lesson.evaluate(slow, *data)], []
    for _ in range(2):
        for chosen in lesson.shuffled_batches(len(data[1]), 64, generator):
            loss, gradients = lesson.torch_gradients(data[0][chosen], data[1][chosen], **slow)
            slow = {name: slow[name] - np.float32(0.5) * gradients[name] for name in NAMES}
            losses.append(loss)
        seen.append(lesson.evaluate(slow, *data))
    assert_same(found.parameters, slow, rtol=0, atol=2e-5)
    np.testing.assert_allclose(found.batch_losses, np.reshape(losses, (2, 3)), rtol=1e-4)
    np.testing.assert_allclose([found.seen[epoch]["all"] for epoch in range(3)], seen, rtol=1e-3)
    assert [*lesson.run("Xavier", 0.5, 7, **common, seen_at=[2]).seen] == [2]


def test_all_runs_are_under_their_names_in_the_order_of_the_seeds(lesson):
    settings = {name: {"start": name} for name in ("one", "two")}

    def job(seed, start, rate):
        return start, seed, rate

    found = lesson.run_all(settings, (5, 3), job, rate=0.1)
    assert found == {name: [(name, seed, 0.1) for seed in (5, 3)] for name in settings}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_huge_inputs_give_finite_losses_without_warnings(lesson, dtype):
    images, labels = random_batch(SMALL, 8, dtype=dtype)
    images, parameters = images * dtype(1e6), random_parameters(SMALL, dtype=dtype, scale=50)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results = [
            lesson.mean_of_images(images, labels, **parameters),
            lesson.batch_gradients(images, labels, **parameters),
        ]
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
    batches = lesson.batches_65(count, 64, np.random.default_rng(0))
    assert [len(batch) for batch in batches] == expected
    assert expected[0] == 65 and len(set(np.concatenate(batches))) == sum(expected)


def test_the_stored_order_has_whole_batches_and_no_other_order(lesson):
    batches = lesson.stored_order(150, 64, None)
    assert np.concatenate(batches).tolist() == [*range(128)] and len(batches) == 2


def test_the_slip_of_the_average_divides_by_64(lesson):
    images, labels = random_batch(SMALL, 65)
    parameters = random_parameters(SMALL)
    found = lesson.divided_by_64(images, labels, **parameters)[1]
    each = [
        lesson.image_gradients(*one, **parameters)[1] for one in zip(images, labels, strict=True)
    ]
    assert_same(found, {n: sum(g[n] for g in each) / 64 for n in NAMES}, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("names", ["b", "bVc"])
def test_the_slip_of_the_assignment_leaves_rate_times_the_gradient(lesson, names):
    images, labels = random_batch(SMALL, 16, dtype=np.float32)
    before = random_parameters(SMALL, dtype=np.float32)
    after, right = ({name: array.copy() for name, array in before.items()} for _ in range(2))
    slip = partial(lesson.assigned, names, 0.25)
    lesson.train_epoch(after, images, labels, 0.25, [np.arange(16)], slip)
    lesson.train_epoch(right, images, labels, 0.25, [np.arange(16)])
    _, gradients = lesson.batch_gradients(images, labels, **before)
    for name in NAMES:
        expected = 0.25 * gradients[name] if name in names else right[name]
        np.testing.assert_allclose(after[name], expected, rtol=1e-4, atol=1e-6)


def test_an_output_layer_alone_takes_the_steps_of_a_network_whose_hidden_layer_rests(lesson):
    images, labels = random_batch(SMALL, 150, dtype=np.float32)
    network = random_parameters(SMALL, dtype=np.float32) | {"c": np.zeros(4, dtype=np.float32)}
    hidden = lesson.forward(images, **network)[0]
    found = lesson.train_output(hidden, labels, network["V"], 0.5, 2)
    generator, rests = np.random.default_rng(0), partial(lesson.faster, "Wb", 0.0)
    for _ in range(2):
        batches = lesson.shuffled_batches(150, 64, generator)
        lesson.train_epoch(network, images, labels, 0.5, batches, rests)
    assert_same(found, {name: network[name] for name in "Vc"}, rtol=1e-4, atol=1e-5)


def test_evaluation(lesson):
    images, _ = random_batch(SMALL, 53)
    parameters = random_parameters(SMALL, scale=3)
    labels = lesson.forward(images, **parameters)[1].argmax(axis=1)
    labels[::4] = (labels[::4] + 1) % SMALL[2]  # 14 of 53 are answered wrongly
    loss, accuracy = lesson.evaluate(parameters, images, labels)
    assert loss == pytest.approx(lesson.torch_gradients(images, labels, **parameters)[0], rel=1e-12)
    assert accuracy == pytest.approx(39 / 53)


def test_initial_parameters(lesson):
    stds = {"N(0, 1)": (1, 1), "Xavier": ((2 / 1084) ** 0.5, (2 / 310) ** 0.5)}
    stds["N(0, 1) W, Xavier V"] = stds["N(0, 1)"][0], stds["Xavier"][1]
    stds["Xavier W, N(0, 1) V"] = stds["Xavier"][0], stds["N(0, 1)"][1]
    drawn = {k: lesson.initial_parameters(k, np.random.default_rng(0)) for k in stds}
    for kind, parameters in drawn.items():
        assert [parameters[n].shape for n in NAMES] == [(784, 300), (300,), (300, 10), (10,)]
        assert all(array.dtype == np.float32 for array in parameters.values())
        assert parameters["W"].std() == pytest.approx(stds[kind][0], rel=0.02)
        assert parameters["V"].std() == pytest.approx(stds[kind][1], rel=0.05)
        assert not parameters["b"].any() and not parameters["c"].any()
    again = lesson.initial_parameters("Xavier", np.random.default_rng(1))
    assert not np.array_equal(again["W"], drawn["Xavier"]["W"])


def test_all_timed_versions_make_the_same_updates(lesson):
    images, labels = random_batch((784, 300, 10), 64)
    batches = np.random.default_rng(0).permutation(64).reshape(4, 16)
    losses = {
        name: [update(images[chosen].astype(dtype), labels[chosen]) for chosen in batches]
        for name, (dtype, update) in lesson.make_contenders(rate=0.3).items()
    }
    assert len(losses) == 4
    for name, found in losses.items():
        np.testing.assert_allclose(found, losses["batch, float64"], rtol=1e-4, err_msg=name)
