"""The code that notebook 07 teaches: networks, trainings, losses after a softmax, searches."""

import math
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import confusion_matrix
from torch import nn

from helpers.mnist import load_mnist
from tests.tools.notebook_tools import load_implementation

NOTEBOOK = load_implementation("07_mnist_classifiers")
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(scale=3, size=(7, 10))
LABELS = RNG.integers(10, size=7)
ADAM = torch.optim.Adam
ONE_IMAGE = 0.011  # of 100 for validation


@pytest.fixture(scope="module")
def tensors():
    return NOTEBOOK.to_tensors(load_mnist("digits"), 0.2, 0.3)


@pytest.fixture(scope="module")
def few(tensors):
    """300 training images, 100 for validation and no test part."""
    return {
        "train": tuple(values[:300] for values in tensors["train"]),
        "validation": tuple(values[:100] for values in tensors["validation"]),
    }


def test_every_part_is_normalised_alike_and_keeps_its_labels(tensors):
    digits = load_mnist("digits")
    for name in ("train", "validation", "test"):
        part, (inputs, labels) = getattr(digits, name), tensors[name]
        expected = (part.images / 255 - 0.2) / 0.3
        np.testing.assert_allclose(inputs[:, 0].cpu().numpy(), expected, atol=1e-5)
        np.testing.assert_array_equal(labels.cpu().numpy(), part.labels)


# ---- networks


def test_the_feed_forward_network_has_a_relu_after_each_layer_but_the_last():
    network = NOTEBOOK.feed_forward((5, 4))
    kinds = [nn.Flatten, nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear]
    assert [type(layer) for layer in network] == kinds
    assert NOTEBOOK.count_parameters(network) == 785 * 5 + 6 * 4 + 5 * 10


def test_multiply_adds_counted_by_hand():
    lenet = [28 * 28 * 6 * 25, 10 * 10 * 16 * 6 * 25, 400 * 120, 120 * 84, 84 * 10]
    assert list(NOTEBOOK.multiply_adds(NOTEBOOK.LeNet5()).values()) == lenet
    resnet = 14 * 14 * 64 * 49 + 4 * 7 * 7 * 64 * 64 * 9 + 512 * 10
    for width, side in ((128, 4), (256, 2), (512, 1)):
        resnet += side * side * (width * width // 2 * (9 + 1) + 3 * width * width * 9)
    assert sum(NOTEBOOK.multiply_adds(NOTEBOOK.resnet18_for_digits()).values()) == resnet
    network = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2), nn.Conv2d(4, 8, 3, groups=2))
    counts = list(NOTEBOOK.multiply_adds(network).values())
    assert counts == [13 * 13 * 4 * 9, 11 * 11 * 8 * 2 * 9]
    assert not any(layer._forward_hooks for layer in network.modules())


# ---- training


def plain_loop(make, seed, data, loss, optimizer, epochs, batch_size=64, falls=False):
    """The ordinary way: losses of the batches, and validation accuracies."""
    inputs, labels = data["train"]
    torch.manual_seed(seed)
    network, order = make().to(inputs.device), torch.Generator().manual_seed(seed)
    optimizer = optimizer(network.parameters())
    updates = epochs * math.ceil(len(inputs) / batch_size)
    factors = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0 if falls else 1.0, updates)
    losses, accuracies = [], []
    for _ in range(epochs):
        for batch in torch.randperm(len(inputs), generator=order).split(batch_size):
            value = loss(network(inputs[batch]), labels[batch])
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            factors.step()
            losses.append(value.item())
        unseen, truth = data["validation"]
        accuracies.append((network(unseen).argmax(1) == truth).float().mean().item())
    return losses, accuracies


def mean_squared_error(logits, labels):
    return 10 * F.mse_loss(logits.softmax(1), F.one_hot(labels, 10).float())


def twice(logits, labels):
    return nn.CrossEntropyLoss()(nn.Softmax(dim=1)(logits), labels)


def test_learn_is_an_ordinary_training_from_each_seed(few):
    make, options = NOTEBOOK.feed_forward, {"epochs": 2, "schedule": NOTEBOOK.falling_rate}
    history = NOTEBOOK.learn(make, (3, 5), few, **options)
    found = NOTEBOOK.accuracies(make, history, {"test": few["validation"]})
    for member, seed in enumerate((3, 5)):
        task = make, seed, few, F.cross_entropy, partial(ADAM, lr=1e-3), 2
        losses, accuracies = plain_loop(*task, falls=True)
        np.testing.assert_allclose(history.curves["loss"][member], losses, atol=1e-3)
        measured = NOTEBOOK.validation(history)[member, 1:]
        np.testing.assert_allclose(measured, accuracies, atol=ONE_IMAGE)
        assert found[member] == pytest.approx(accuracies[-1], abs=ONE_IMAGE)


def test_the_sure_start_is_the_usual_one_but_for_an_output_bias(few):
    usual, sure = (
        NOTEBOOK.learn(NOTEBOOK.feed_forward, (4, 4), few, iterations=0, initialize=start)
        for start in NOTEBOOK.STARTS.values()
    )
    for name, values in usual.parameters.items():
        added = (sure.parameters[name] - values)[1].flatten()
        expected = [10] + [0] * (len(added) - 1) if name == "5.bias" else [0] * len(added)
        np.testing.assert_allclose(added.cpu(), expected, atol=1e-5)


def test_a_table_has_the_curve_of_each_seed_and_rate(few):
    curves, seconds = NOTEBOOK.learning_curves(few, (16,), 100)
    rates = NOTEBOOK.SPACE["rate"]
    assert curves.shape == (2, len(rates), NOTEBOOK.ROUNDS) and seconds > 0
    for (s, seed), i in ((pair, i) for pair in enumerate(NOTEBOOK.TABLE_SEEDS) for i in (1, 4)):
        make, adam = partial(NOTEBOOK.feed_forward, (16,)), partial(ADAM, lr=rates[i])
        _, accuracies = plain_loop(make, seed, few, F.cross_entropy, adam, 4, batch_size=100)
        np.testing.assert_allclose(curves[s, i], accuracies, atol=ONE_IMAGE)


# ---- losses after a softmax


@pytest.mark.parametrize(
    ("loss", "peer"),
    [
        ("cross-entropy", F.cross_entropy),
        ("squared error", mean_squared_error),
        ("softmax twice", twice),
    ],
)
def test_losses_of_several_networks_equal_pytorchs(loss, peer):
    z, y = torch.tensor(LOGITS), torch.tensor(LABELS)
    found = NOTEBOOK.LOSSES[loss](torch.stack([z, -z]), y.expand(2, -1)).mean(1)
    assert found.tolist() == pytest.approx([peer(z, y).item(), peer(-z, y).item()], rel=1e-6)
    values = NOTEBOOK.loss_value(LOGITS, np.eye(10)[LABELS], loss)
    assert values.mean() == pytest.approx(found[0].item(), rel=1e-6)


# ---- mistakes


def test_the_confusion_matrix_equals_scikit_learns():
    labels, predictions = RNG.integers(3, size=(2, 50))
    found = NOTEBOOK.confusion_matrix(labels, predictions, classes=4)
    np.testing.assert_array_equal(found, confusion_matrix(labels, predictions, labels=range(4)))


def test_the_most_confident_mistakes_come_first_and_are_mistakes():
    p = np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.05, 0.95], [0.3, 0.7]])
    labels = np.array([0, 1, 0, 1, 0])
    np.testing.assert_array_equal(NOTEBOOK.most_confident_mistakes(p, labels, 2), [1, 4])
    np.testing.assert_array_equal(NOTEBOOK.most_confident_mistakes(p, labels, 9), [1, 4, 2])


# ---- searches


class Curve:
    """Made-up accuracies of a configuration, which note what is read of them."""

    def __init__(self, configuration, read):
        self.configuration, self.read = configuration, read

    def __getitem__(self, index):
        self.read.add((self.configuration, index + 1))
        return hash((self.configuration, index)) % 1000 / 1000


KINDS = ("grid search", "random search", "successive halving")


@pytest.mark.parametrize("kind", KINDS)
def test_each_search_spends_its_budget_and_reads_only_what_it_pays_for(kind):
    chosen = set()
    for seed in range(20):
        read = set()
        table = {c: Curve(c, read) for c in NOTEBOOK.product(*NOTEBOOK.SPACE.values())}
        meter = NOTEBOOK.search(kind, table, np.random.default_rng(seed))
        paid = [(configuration, done) for configuration, done, _ in meter.trace]
        assert len(paid) == len(set(paid)) == NOTEBOOK.BUDGET == 48
        assert read == set(paid)
        best = meter.best_so_far()
        np.testing.assert_array_equal(best, np.maximum.accumulate([a for *_, a in meter.trace]))
        assert meter.best()[2] == best[-1]
        chosen.add(tuple(meter.trained))
    assert len(chosen) == 20  # each seed another search


def test_a_meter_continues_and_never_overspends():
    meter = NOTEBOOK.Meter({"a": [0.1, 0.5, 0.4], "b": [0.2, 0.3, 0.9]}, 4)
    assert meter.train("a", 1) == 0.1 and meter.train("a", 3) == 0.4 and meter.train("a", 2) == 0.5
    assert meter.trace == [("a", 1, 0.1), ("a", 2, 0.5), ("a", 3, 0.4)]
    assert meter.best() == ("a", 2, 0.5)
    with pytest.raises(RuntimeError, match="budget of 4 rounds"):
        meter.train("b", 2)


def test_every_grid_is_a_grid_and_none_comes_twice():
    grids = NOTEBOOK.all_grids(NOTEBOOK.SPACE)
    assert len(grids) == len({tuple(grid) for grid in grids}) == 6 * 3 * 3
    space = set(NOTEBOOK.product(*NOTEBOOK.SPACE.values()))
    for grid in grids:
        levels = [sorted(set(values)) for values in zip(*grid, strict=True)]
        assert [len(level) for level in levels] == [3, 2, 2] and len(set(grid)) == 12
        assert space.issuperset(grid)
        assert levels[0][1] / levels[0][0] == pytest.approx(levels[0][2] / levels[0][1])


# ---- comparison of two networks


def test_running_mean_and_steps_to_reach_by_hand():
    losses = np.array([3.0, 2.0, 1.0, 1.0, 0.0, 0.0])
    np.testing.assert_allclose(NOTEBOOK.running_mean(losses, 2), [2.5, 1.5, 1.0, 0.5, 0.0])
    assert NOTEBOOK.steps_to_reach(losses, 1.2, width=2) == 4  # the mean of batches 3 and 4
    assert NOTEBOOK.steps_to_reach(losses, 5, width=2) == 2
    assert NOTEBOOK.steps_to_reach(losses, 0.0, width=2) == math.inf
