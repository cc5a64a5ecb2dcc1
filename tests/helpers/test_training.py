"""The trainer: each member is what the same seed would be alone, by PyTorch's own means."""

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers import training
from helpers.history import History
from helpers.objectives import (
    accuracy,
    binary_accuracy,
    binary_cross_entropy,
    cross_entropy,
    squared_error,
)
from helpers.training import initial_parameters, network_of, outputs_of, train, truncated_normal_

SEEDS = range(6)
GENERATOR = torch.Generator().manual_seed(5)
INPUTS = torch.randn(24, 6, generator=GENERATOR)
LABELS = (INPUTS[:, 0] + 0.5 * INPUTS[:, 1] > 0).float()
IMAGES = torch.randn(20, 1, 8, 8, generator=GENERATOR)
CLASSES = torch.randint(3, (20,), generator=GENERATOR)
LOSS = {"loss": binary_cross_entropy}
UNSEEN = torch.randn(9, 6, generator=GENERATOR)
MOMENTUM = partial(torch.optim.SGD, momentum=0.9, weight_decay=0.01)


class Swish(nn.Module):
    """An activation of which the trainer knows nothing."""

    def forward(self, z):
        return z * torch.sigmoid(z)


class TwoHeads(nn.Module):
    """A logit and a width, as in notebook 04."""

    def __init__(self):
        super().__init__()
        self.shared, self.logit, self.width = nn.Linear(6, 4), nn.Linear(4, 1), nn.Linear(4, 1)

    def forward(self, inputs):
        h = torch.tanh(self.shared(inputs))
        return self.logit(h).squeeze(1), self.width(h).squeeze(1)


class Residual(nn.Module):
    """Convolutions with and without bias, batch normalisation, a sum of two paths."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, stride=2, padding=1, bias=False)
        self.norm, self.second = nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, padding=1)
        self.last = nn.Linear(4, 3)

    def forward(self, images):
        h = torch.relu(self.norm(self.first(images)))
        h = F.adaptive_avg_pool2d(h + torch.relu(self.second(h)), 1)
        return self.last(torch.flatten(h, 1))


def one_hidden(activation=nn.Tanh):
    return nn.Sequential(nn.Linear(6, 5), activation(), nn.Linear(5, 1))


def two_hidden():
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4), nn.Sigmoid(), nn.Linear(4, 1))


def convolutional():
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 2, 2), nn.Flatten(), Swish(),
        nn.Linear(8, 3),
    )  # fmt: skip


def plain_loop(make, seed, inputs, targets, loss, updates, rate=0.1, optimizer=torch.optim.SGD,
               batch_size=None, schedule=None, start=truncated_normal_):  # fmt: skip
    """The ordinary way to train one network: its losses before each update, and the network."""
    torch.manual_seed(seed)
    network = make()
    if start:
        start(network, torch.Generator().manual_seed(seed))
    optimizer = optimizer(network.parameters(), lr=rate)
    order, losses = torch.Generator().manual_seed(seed), []
    batches = []
    for update in range(updates):
        if not batches:
            samples = torch.randperm(len(inputs), generator=order)
            batches = list(samples.split(batch_size)) if batch_size else [slice(None)]
        chosen = batches.pop(0)
        outputs = network(inputs[chosen])
        value = loss(outputs.squeeze(1) if outputs.shape[1] == 1 else outputs, targets[chosen])
        losses.append(value.item())
        if schedule:
            optimizer.param_groups[0]["lr"] = rate * schedule(update / updates)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return np.array(losses), network


def assert_same(history: History, member: int, losses: np.ndarray, network: nn.Module) -> None:
    np.testing.assert_allclose(history.curves["loss"][member, : len(losses)], losses, atol=2e-5)
    state = network.state_dict()
    for name, values in history.parameters.items():
        np.testing.assert_allclose(values[member], state[name], atol=1e-4, err_msg=name)


LOGITS, L2 = F.binary_cross_entropy_with_logits, lambda u, y: F.mse_loss(torch.sigmoid(u), y)
NETWORKS = {  # network, inputs, targets, this project's loss, PyTorch's
    "by hand, tanh": (one_hidden, INPUTS, LABELS, binary_cross_entropy, LOGITS),
    "by hand, L2": (partial(one_hidden, nn.Sigmoid), INPUTS, LABELS, squared_error, L2),
    "by hand, ReLU": (partial(one_hidden, nn.ReLU), INPUTS, LABELS, binary_cross_entropy, LOGITS),
    "by hand, linear": (partial(one_hidden, nn.Identity), INPUTS, LABELS, squared_error, L2),
    "unknown activation": (partial(one_hidden, Swish), INPUTS, LABELS, squared_error, L2),
    "one layer": (partial(nn.Linear, 6, 1), INPUTS, LABELS, binary_cross_entropy, LOGITS),
    "two hidden layers": (two_hidden, INPUTS, LABELS, binary_cross_entropy, LOGITS),
    "convolutional": (convolutional, IMAGES, CLASSES, cross_entropy, F.cross_entropy),
    "residual": (Residual, IMAGES, CLASSES, cross_entropy, F.cross_entropy),
}
SETTINGS = {
    "full batch": {},
    "momentum": {"optimizer": MOMENTUM, "rate": 0.05},
    "Adam": {"optimizer": torch.optim.Adam, "rate": 0.01},
    "mini-batches": {"batch_size": 7, "optimizer": MOMENTUM, "rate": 0.03},
    "schedule": {"batch_size": 7, "schedule": lambda done: 1 - done},
    "PyTorch's initialisation": {"start": None},
}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("setting", SETTINGS)
def test_every_member_equals_a_plain_pytorch_loop(network, setting):
    make, inputs, targets, loss, plain_loss = NETWORKS[network]
    options = SETTINGS[setting]
    names = {"rate": "learning_rate", "start": "initialize"}
    history = train(
        make, SEEDS, inputs, targets, {"loss": loss}, iterations=15,
        **{names.get(name, name): value for name, value in options.items()},
    )  # fmt: skip
    for member in (0, 4):
        expected = plain_loop(make, member, inputs, targets, plain_loss, 15, **options)
        assert_same(history, member, *expected)


@pytest.mark.parametrize("optimizer", [None, MOMENTUM, torch.optim.Adam])
@pytest.mark.parametrize("network", ["by hand, tanh", "convolutional"])
def test_members_may_differ_in_rate_and_initial_scale(network, optimizer):
    make, inputs, targets, loss, plain_loss = NETWORKS[network]
    rates, scales = [0.01, 0.03, 0.1, 0.02], [0.1, 0.5, 0.1, 1.0]
    starts = [partial(truncated_normal_, std=std) for std in scales]
    history = train(
        make, [3, 3, 4, 5], inputs, targets, {"loss": loss}, iterations=12, learning_rate=rates,
        initialize=starts, optimizer=optimizer,
    )  # fmt: skip
    for member, seed in enumerate([3, 3, 4, 5]):
        options = {"rate": rates[member], "start": starts[member]}
        options |= {"optimizer": optimizer} if optimizer else {}
        assert_same(
            history, member, *plain_loop(make, seed, inputs, targets, plain_loss, 12, **options)
        )


@pytest.mark.parametrize("optimizer", [None, MOMENTUM, torch.optim.Adam])
@pytest.mark.parametrize("network", ["by hand, tanh", "unknown activation", "one layer"])
def test_members_that_leave_change_nothing_for_the_others(network, optimizer):
    make, inputs, targets, loss, _ = NETWORKS[network]
    end = {"metrics": {"accuracy": binary_accuracy}, "stop_when": "accuracy", "iterations": 300}
    start = partial(truncated_normal_, std=1.0)
    rest = (inputs, targets, {"loss": loss})
    together = train(make, SEEDS, *rest, initialize=start, optimizer=optimizer, **end)
    assert len(set(together.solved_at)) > 2  # they leave at different times
    for seed in SEEDS:
        alone = train(make, [seed], *rest, initialize=start, optimizer=optimizer, **end)
        assert alone.solved_at[0] == together.solved_at[seed]
        for name, values in together.parameters.items():
            np.testing.assert_allclose(values[seed], alone.parameters[name][0], atol=1e-4)
