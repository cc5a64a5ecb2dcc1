"""Notebook 02: its network, its gradients and its training by hand, the test of separability."""

from functools import partial

import numpy as np
import pytest
import torch
from sklearn.svm import SVC
from torch import nn

from helpers.datasets import generate_random
from helpers.objectives import binary_accuracy, binary_cross_entropy, squared_error
from helpers.stacking import dense_layers_of
from helpers.training import initial_parameters, train
from tests.tools.notebook_tools import load_implementation

ACTIVATIONS = {"sigmoid": nn.Sigmoid(), "ReLU": nn.ReLU()}
LOSSES = {"L2": squared_error, "CE": binary_cross_entropy}
SETTINGS = [(activation, loss) for activation in ACTIVATIONS for loss in LOSSES]
RNG = np.random.default_rng(7)
X = RNG.normal(size=(9, 16))
Y = (RNG.random(9) > 0.4).astype(float)


@pytest.fixture(scope="module")
def lesson():
    return load_implementation("02_fully_connected_network")


def test_the_network_is_that_of_the_handout_and_its_gradient_is_by_hand(lesson):
    network = lesson.fully_connected(nn.ReLU())
    shapes = [tuple(p.shape) for p in network.parameters()]
    assert shapes == [(4, 16), (4,), (1, 4), (1,)]
    assert network(torch.zeros(5, 4, 4)).shape == (5, 1)
    assert dense_layers_of(network) == [*network][1:]


@pytest.mark.parametrize(("activation", "loss"), SETTINGS)
def test_gradients_agree_with_pytorch(lesson, activation, loss):
    network = lesson.fully_connected(ACTIVATIONS[activation]).double()
    for parameter in network.parameters():  # far from zero, since zeros hide mistakes
        parameter.data = torch.tensor(0.8 * RNG.normal(size=parameter.shape))
    value = LOSSES[loss](network(torch.tensor(X)).squeeze(1), torch.tensor(Y)).mean()
    value.backward()
    W, b, v, c = (p.detach().numpy() for p in network.parameters())
    task = {"activation": activation, "loss": loss, "W": W, "b": b, "v": v[0], "c": c[0]}
    written = lesson.gradients(X, Y, **task).values()
    for mine, theirs in zip(written, network.parameters(), strict=True):
        np.testing.assert_allclose(mine.reshape(theirs.shape), theirs.grad, atol=1e-13)


@pytest.mark.parametrize(
    ("points", "labels"),
    [
        (generate_random(seed=4).images.reshape(64, -1), generate_random(seed=4).labels),
        (np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), np.array([0, 1, 1, 0])),
        (np.array([[1.0], [2.0]]), np.array([0, 1])),  # no plane through the origin will do
    ],
    ids=["a linear teacher", "XOR", "a bias is needed"],
)
def test_the_perceptron_separates_what_a_support_vector_machine_separates(lesson, points, labels):
    separable = SVC(kernel="linear", C=1e6).fit(points, labels).score(points, labels) == 1
    samples = np.column_stack([points, np.ones(len(points))])
    weights, signs = np.zeros(samples.shape[1]), 2.0 * labels - 1
    for _ in range(500):
        weights = lesson.perceptron_pass(weights, samples, signs)
    assert (signs * (samples @ weights) > 0).all() == separable


@pytest.mark.parametrize(("activation", "loss"), SETTINGS)
def test_the_trainer_by_hand_counts_the_iterations_of_the_trainer(lesson, activation, loss):
    network = partial(lesson.fully_connected, ACTIVATIONS[activation])
    optimizer = partial(torch.optim.SGD, momentum=0.9)
    options = {"metrics": {"accuracy": binary_accuracy}, "stop_when": "accuracy"}
    options |= {"optimizer": optimizer, "iterations": 10_000}
    data = torch.tensor(X), torch.tensor(Y)
    history = train(network, range(3), *data, {"loss": LOSSES[loss]}, **options)
    W, b, v, c = (p.double().numpy() for p in initial_parameters(network, range(3)).values())
    for i, count in enumerate(history.solved_at):
        start = {"W": W[i], "b": b[i], "v": v[i, 0], "c": c[i, 0]}
        task = (X, Y, activation, loss, start)
        by_hand = partial(lesson.iterations_to_solve, *task, rate=0.1, momentum=0.9)
        assert by_hand(limit=10_000) == count > 1
        assert by_hand(limit=int(count) - 1) == np.inf
