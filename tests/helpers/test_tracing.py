"""A traced function computes what the function computes, with fewer operations."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call, grad, vmap
from torch.fx.experimental.proxy_tensor import make_fx

from helpers.tracing import trace

MEMBERS = 3
LABELS = (torch.arange(8) % 3 == 0).float()


def mlp():
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 4), nn.Sigmoid(), nn.Linear(4, 1))


def narrow():
    """Layers of one unit, whose shapes are easy to confuse."""
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 1), nn.Tanh(), nn.Linear(1, 1))


def convolutional():
    return nn.Sequential(
        nn.Conv2d(1, 5, 3), nn.ReLU(), nn.Conv2d(5, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 1)
    )


def squared(logits, labels):
    return ((torch.sigmoid(logits) - labels) ** 2).mean()


def problem(make_network, loss, seed=0):
    """Gradients and losses of several members, as a function of their stacked parameters."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(8, 1, 6, 6, generator=generator)
    network = make_network()
    parameters = {
        name: 0.5 * torch.randn(MEMBERS, *parameter.shape, generator=generator)
        for name, parameter in network.named_parameters()
    }

    def total(member):
        logits = functional_call(network, member, (inputs,)).squeeze(1)
        value = loss(logits, LABELS)
        return value, value

    return vmap(grad(total, has_aux=True)), parameters


@pytest.mark.parametrize("make_network", [mlp, narrow, convolutional])
@pytest.mark.parametrize("loss", [squared, F.binary_cross_entropy_with_logits])
def test_a_trace_computes_the_function(make_network, loss):
    function, parameters = problem(make_network, loss)
    traced = trace(function, parameters)
    for scale in (1.0, -2.0, 1.0):  # several calls, other values than those it was traced with
        moved = {name: scale * value for name, value in parameters.items()}
        torch.testing.assert_close(traced(moved), function(moved))


def test_a_trace_has_fewer_operations():
    function, parameters = problem(mlp, F.binary_cross_entropy_with_logits)
    plain = make_fx(function)(parameters)
    assert len(trace(function, parameters).graph.nodes) < 0.75 * len(plain.graph.nodes)


def test_constants_stay_what_they_were():
    """Folded once, and not changed by operations in place on what comes from them."""
    base = torch.arange(4.0)

    def function(x):
        return (base + 1).neg().mul(x).add_(base).exp_()

    traced = trace(function, torch.ones(4))
    for factor in (2.0, 3.0):
        expected = torch.exp(-factor * (base + 1) + base)
        torch.testing.assert_close(traced(torch.full((4,), factor)), expected)
    torch.testing.assert_close(base, torch.arange(4.0))


def test_multiplications_by_other_numbers_than_one_stay():
    traced = trace(lambda x: 3 * (1 * x), torch.ones(2))
    torch.testing.assert_close(traced(torch.tensor([1.0, 2.0])), torch.tensor([3.0, 6.0]))


def test_reshapes_that_change_the_shape_stay():
    traced = trace(lambda x: x.view(3, 2).expand(2, 3, 2), torch.ones(6))
    assert traced(torch.arange(6.0)).shape == (2, 3, 2)
