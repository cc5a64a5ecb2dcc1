"""Notebook 02: its network, its gradients and its training by hand, the test of separability."""

from functools import partial

import numpy as np
import pytest
import torch

from helpers.datasets import generate_random
from helpers.gradient_check import assert_gradients_close
from helpers.training import binary_accuracy, initial_parameters, train_ensemble
from tests.tools.notebook_tools import load_implementation

ACTIVATIONS = {"sigmoid": torch.sigmoid, "ReLU": torch.relu}
SETTINGS = [(activation, loss) for activation in ACTIVATIONS for loss in ("L2", "CE")]
RNG = np.random.default_rng(7)
X = RNG.normal(size=(9, 16))
Y = (RNG.random(9) > 0.4).astype(float)


@pytest.fixture(scope="module")
def lesson():
    return load_implementation("02_fully_connected_network")


def parameters(seed=3, scale=0.8):
    rng = np.random.default_rng(seed)
    shapes = {"W": (4, 16), "b": (4,), "v": (4,), "c": ()}
    return {name: np.asarray(scale * rng.normal(size=shape)) for name, shape in shapes.items()}


def torch_gradients(lesson, activation, loss):
    """Automatic differentiation of the notebook's nn.Module with the same parameters."""
    network = lesson.FullyConnected(ACTIVATIONS[activation]).double()
    for value, parameter in zip(parameters().values(), network.parameters(), strict=True):
        parameter.data = torch.tensor(value).reshape(parameter.shape)
    function = {"L2": lesson.l2_loss, "CE": lesson.cross_entropy}[loss]
    value = function(network(torch.tensor(X)), torch.tensor(Y))
    value.backward()
    return value.item(), [p.grad.numpy() for p in network.parameters()]


@pytest.mark.parametrize(("activation", "loss"), SETTINGS)
def test_gradients_agree_with_central_differences(lesson, activation, loss):
    task = {"x": X, "y": Y, "activation": activation, "loss": loss}
    assert_gradients_close(
        partial(lesson.mean_loss, **task),
        parameters(),
        lesson.gradients(**task, **parameters()),
        tolerance=1e-8,
    )


@pytest.mark.parametrize(("activation", "loss"), SETTINGS)
def test_loss_and_gradients_agree_with_pytorch(lesson, activation, loss):
    value, expected = torch_gradients(lesson, activation, loss)
    task = {"activation": activation, "loss": loss, **parameters()}
    assert lesson.mean_loss(X, Y, **task) == pytest.approx(value, rel=1e-12)
    for written, auto in zip(lesson.gradients(X, Y, **task).values(), expected, strict=True):
        np.testing.assert_allclose(written.reshape(auto.shape), auto, atol=1e-13)


def test_the_losses_are_those_of_the_handout(lesson):
    logits, labels = torch.tensor([0.0, 2.0, -1.0]), torch.tensor([1.0, 0.0, 0.0])
    output = 1 / (1 + np.exp(-np.array([0.0, 2.0, -1.0])))
    l2 = np.mean((output - labels.numpy()) ** 2)
    entropy = -np.mean([np.log(output[0]), np.log(1 - output[1]), np.log(1 - output[2])])
    assert lesson.l2_loss(logits, labels).item() == pytest.approx(l2, rel=1e-6)
    assert lesson.cross_entropy(logits, labels).item() == pytest.approx(entropy, rel=1e-6)


def test_the_network_has_the_architecture_of_the_handout(lesson):
    network = lesson.FullyConnected(torch.relu)
    shapes = {name: tuple(p.shape) for name, p in network.named_parameters()}
    assert shapes == {
        "hidden.weight": (4, 16),
        "hidden.bias": (4,),
        "output.weight": (1, 4),
        "output.bias": (1,),
    }
    assert network(torch.zeros(5, 4, 4)).shape == (5,)


def test_the_hidden_activation_is_applied(lesson):
    """A network whose hidden units are all negative answers with the output's bias alone."""
    network = lesson.FullyConnected(torch.relu)
    network.hidden.bias.data.fill_(-100.0)
    answers = network(torch.rand(6, 4, 4, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(answers, network.output.bias.expand(6))


def test_the_perceptron_separates_what_a_plane_can_separate(lesson):
    data = generate_random(seed=4)
    assert lesson.perceptron_errors(data.images.reshape(64, -1), data.labels) == 0


def test_the_perceptron_leaves_errors_where_no_plane_exists(lesson):
    points = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], float)
    assert lesson.perceptron_errors(points, np.array([0, 1, 1, 0]), max_sweeps=200) >= 1


def test_the_perceptron_needs_its_bias(lesson):
    """One class lies between the origin and the other: no plane through the origin will do."""
    assert lesson.perceptron_errors(np.array([[1.0], [2.0]]), np.array([0, 1])) == 0


def test_steps_with_momentum_are_those_of_pytorch(lesson):
    theirs = torch.tensor([0.3, -1.2], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([theirs], lr=0.2, momentum=0.7, weight_decay=0.1)
    mine, velocities = {"b": np.array([0.3, -1.2])}, {"b": np.zeros(2)}
    for slope in RNG.normal(size=(5, 2)):
        theirs.grad = torch.tensor(slope)
        optimizer.step()
        mine, velocities = lesson.momentum_step(mine, velocities, {"b": slope}, 0.2, 0.7, 0.1)
        np.testing.assert_allclose(mine["b"], theirs.detach(), rtol=1e-12)


@pytest.mark.parametrize(("activation", "loss"), SETTINGS)
def test_the_trainer_by_hand_counts_the_iterations_of_the_trainer(lesson, activation, loss):
    network = partial(lesson.FullyConnected, ACTIVATIONS[activation])
    rates = {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 5e-4}
    history = train_ensemble(
        network, range(3), torch.tensor(X), torch.tensor(Y),
        {"loss": {"L2": lesson.l2_loss, "CE": lesson.cross_entropy}[loss]},
        metrics={"accuracy": binary_accuracy}, stop_when="accuracy", **rates,
    )  # fmt: skip
    W, b, v, c = (p.double().numpy() for p in initial_parameters(network, range(3)).values())
    for i, count in enumerate(history.solved_at):
        start = {"W": W[i], "b": b[i], "v": v[i, 0], "c": c[i, 0]}
        task = (X, Y, activation, loss, start)
        assert lesson.iterations_to_solve(*task, 10_000, **rates) == count > 1
        assert lesson.iterations_to_solve(*task, int(count) - 1, **rates) == np.inf
