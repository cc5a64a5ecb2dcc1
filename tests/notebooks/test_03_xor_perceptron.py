"""Notebook 03: the XOR network, its gradient, when it counts as solved, the floors' proofs."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import binomtest
from torch import nn

from helpers.stacking import dense_layers_of
from helpers.training import truncated_normal_
from tests.tools.notebook_tools import load_implementation

POINTS = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
LABELS = np.array([0.0, 1.0, 1.0, 0.0])
INPUTS, TARGETS = torch.tensor(POINTS), torch.tensor(LABELS)
LN2 = np.log(2)


@pytest.fixture(scope="module")
def xor():
    return load_implementation("03_xor_perceptron")


def network_of_scale(xor, scale, **options):
    network = xor.two_layer_perceptron(**options).double()
    truncated_normal_(network, torch.Generator().manual_seed(3), std=scale, bias=0.3 * scale)
    return network


def mean_loss(logits):
    """Mean cross-entropy, written independently of the notebook."""
    with np.errstate(over="ignore", divide="ignore"):
        probability = 1 / (1 + np.exp(-logits))
        costs = np.where(LABELS == 1, -np.log(probability), -np.log1p(-probability))
    return costs.mean(-1)


def test_points_and_labels_are_those_of_exclusive_or(xor):
    inputs, labels = xor.xor_points()
    np.testing.assert_array_equal(inputs, POINTS)
    np.testing.assert_array_equal(labels, inputs[:, 0] != inputs[:, 1])


def test_the_network_has_nine_parameters_and_its_gradient_is_by_hand(xor):
    network = xor.two_layer_perceptron()
    assert sum(p.numel() for p in network.parameters()) == 9
    assert isinstance(network.activation, nn.Tanh)
    assert dense_layers_of(network) == [network.hidden, network.activation, network.output]


@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0])
def test_loss_and_gradients_agree_with_autograd_through_the_network(xor, scale):
    network = network_of_scale(xor, scale)
    loss = F.binary_cross_entropy_with_logits(network(INPUTS).squeeze(1), TARGETS)
    loss.backward()
    parameters = xor.from_torch(dict(network.named_parameters()))
    expected = xor.from_torch({name: p.grad for name, p in network.named_parameters()})
    found = xor.mean_cross_entropy(POINTS, LABELS, **parameters)
    assert found == pytest.approx(loss.item(), abs=1e-14)
    for name, written in xor.loss_gradients(POINTS, LABELS, **parameters).items():
        np.testing.assert_allclose(written, expected[name], rtol=1e-10, atol=1e-13)


def test_the_gradient_is_finite_at_huge_logits(xor):
    huge = {name: 1e4 * array for name, array in xor.solution_by_hand(1.0).items()}
    for gradient in xor.loss_gradients(POINTS, LABELS, **huge).values():
        assert np.isfinite(gradient).all()


def test_descent_takes_the_steps_of_pytorch_and_changes_copies(xor):
    network = network_of_scale(xor, 1.0)
    start = xor.from_torch({name: p.detach().clone() for name, p in network.named_parameters()})
    copies = {name: array.copy() for name, array in start.items()}
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
    for _ in range(50):
        optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(network(INPUTS).squeeze(1), TARGETS).backward()
        optimizer.step()
    after = xor.descend(POINTS, LABELS, start, 0.5, 50)
    for name, expected in xor.from_torch(dict(network.named_parameters())).items():
        np.testing.assert_allclose(after[name], expected, atol=1e-12)
        np.testing.assert_array_equal(start[name], copies[name])


def test_margins_of_affine_logits_sum_to_zero_and_the_loss_is_at_least_ln_2(xor):
    w1, w2, beta = np.random.default_rng(0).normal(scale=2, size=(3, 20_000, 1))
    without_activation = network_of_scale(xor, 2.0, activation=nn.Identity())
    logits = w1 * POINTS[:, 0] + w2 * POINTS[:, 1] + beta  # of single layers
    two_layers = without_activation(INPUTS).detach().numpy().T
    for affine in (logits, two_layers):
        np.testing.assert_allclose(((2 * LABELS - 1) * affine).sum(-1), 0, atol=1e-12)
        assert mean_loss(affine).min() >= LN2 - 1e-12
    assert mean_loss(np.zeros(4)) == pytest.approx(LN2)


def test_a_loss_below_a_quarter_of_ln_2_means_that_all_four_are_right():
    logits = np.random.default_rng(0).normal(scale=20, size=(20_000, 4))
    wrong = (((2 * LABELS - 1) * logits) <= 0).any(-1)
    assert mean_loss(logits[wrong]).min() >= LN2 / 4


def test_solved_means_every_margin_of_a_network(xor):
    networks = {  # logits: whether they solve XOR
        (-1.0, 1.0, 1.0, -1.0): True,
        (-0.011, 0.011, 0.011, -0.011): True,
        (-1.0, 1.0, 1.0, -0.009): False,  # right, but by less than the margin
        (-1e-9, 1e-9, 1e-9, -1e-9): False,  # what rounding makes of 0
        (1.0, -1.0, -1.0, 1.0): False,
        (-1.0, 1.0, 1.0, 1.0): False,
    }
    logits = torch.tensor(list(networks))
    solved = xor.is_solved(logits, TARGETS.float().expand_as(logits))
    assert solved.tolist() == list(networks.values())


def test_solved_in_numpy_agrees_with_solved_in_torch(xor):
    shift = np.array([0.0, 3.84, 3.85, -5.0])  # least margins about 3.7, 0.016, 0.006 and -1.3
    members = {name: np.stack([a] * 4) for name, a in xor.solution_by_hand(4).items()}
    members["c"] = members["c"] + shift
    _, logits = xor.hidden_and_logits(POINTS, **members)
    expected = xor.is_solved(torch.tensor(logits), TARGETS.expand(4, 4)).bool().tolist()
    assert xor.solved_now(POINTS, LABELS, **members).tolist() == expected
    assert expected == [True, True, False, False]


@pytest.mark.parametrize(
    ("loss", "solved", "level"),
    [
        (0.01, True, "solved"), (LN2 / 2 + 1e-3, False, "two share"), (LN2, False, "plateau"),
        (0.478, False, "three share"), (0.6, False, "on the move"), (LN2 / 2, True, "solved"),
    ],
)  # fmt: skip
def test_levels(xor, loss, solved, level):
    assert xor.level_of(loss, solved) == level


@pytest.mark.parametrize(("successes", "trials"), [(5, 10), (0, 256), (197, 256), (353, 353)])
def test_wilson_interval_is_that_of_scipy(xor, successes, trials):
    expected = binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    assert xor.wilson_interval(successes, trials) == pytest.approx(tuple(expected), abs=1e-5)
    text = xor.solved_text(np.arange(trials) < successes)
    assert text.startswith(f"{successes} of {trials} ({successes / trials:.0%}; 95% interval ")
