"""Notebook 03: the XOR network, its gradient, when it counts as solved, the floors' proofs."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
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
    assert isinstance(network[1], nn.Tanh) and dense_layers_of(network) == [*network]


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


def test_members_of_a_stack_are_networks_of_their_own(xor):
    stack = {
        name: torch.stack([p, 2 * p]) for name, p in xor.two_layer_perceptron().named_parameters()
    }
    arrays = xor.from_torch(stack)
    assert [array.shape for array in arrays.values()] == [(2, 2, 2), (2, 2), (2, 2), (2,)]
    second, network = xor.member(arrays, 1), xor.two_layer_perceptron().double()
    network.load_state_dict({name: values[1] for name, values in stack.items()})
    expected = network(INPUTS)[:, 0].detach().numpy()
    np.testing.assert_allclose(xor.hidden_and_logits(POINTS, **second)[1], expected, atol=1e-7)


@pytest.mark.parametrize("scale", [0.3, 1.0, 3.0])
def test_a_turned_network_answers_the_other_class_at_the_turned_points(xor, scale):
    state = xor.from_torch(dict(network_of_scale(xor, scale).named_parameters()))
    x = np.random.default_rng(0).normal(size=(50, 2))
    turn = np.array([[0, -1], [1, 0]])  # by a quarter, about the middle of the square
    there = (x - 0.5) @ turn.T + 0.5
    _, logits = xor.hidden_and_logits(there, **state)
    np.testing.assert_allclose(xor.hidden_and_logits(x, **xor.turned(state))[1], -logits)
    four = xor.turned(xor.turned(xor.turned(xor.turned(state))))
    for name, array in state.items():
        np.testing.assert_allclose(four[name], array, atol=1e-12)


def test_line_angles_know_no_sign(xor):
    W = np.array([[[1.0, 1.0], [-1.0, 1.0]], [[0.0, -3.0], [-2.0, -2.0]]])
    np.testing.assert_allclose(xor.line_angles(W), [[45, 135], [90, 45]])
    np.testing.assert_allclose(xor.line_angles(-W), xor.line_angles(W))


def test_curvatures_are_those_of_central_differences(xor):
    networks = [network_of_scale(xor, scale) for scale in (0.3, 1.0)]
    stack = {
        name: torch.stack([dict(network.named_parameters())[name] for network in networks]).detach()
        for name, _ in networks[0].named_parameters()
    }
    found = xor.curvatures(stack)
    for i, eigenvalues in enumerate(found):
        vector = torch.cat([values[i].flatten() for values in stack.values()])
        ends = [
            [xor.loss_of(vector + s * 1e-3 * (u + w)).item() for s in (1, -1)]
            for u in torch.eye(9)
            for w in (torch.zeros(9),)
        ]
        middle = xor.loss_of(vector).item()
        diagonal = [(high + low - 2 * middle) / 1e-6 for high, low in ends]
        assert sum(diagonal) == pytest.approx(eigenvalues.sum(), rel=1e-4)
        assert (
            eigenvalues.min() <= min(diagonal) + 1e-6 and eigenvalues.max() >= max(diagonal) - 1e-6
        )


def test_margins_of_affine_logits_sum_to_zero_and_the_loss_is_at_least_ln_2(xor):
    w1, w2, beta = np.random.default_rng(0).normal(scale=2, size=(3, 20_000, 1))
    without_activation = network_of_scale(xor, 2.0, activation=nn.Identity)
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
