"""The code that notebook 08 teaches: networks and their costs, training, the longer run's file."""

import copy
import json
from itertools import islice

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.resnet import BasicBlock

from helpers.datasets import data_root
from helpers.mnist import FOLDER, load_mnist
from tests.tools import long_run

NOTEBOOK = long_run.LESSON
STORED = json.loads(long_run.RESULT.read_text("utf-8"))


@pytest.fixture(scope="module")
def parts():
    return NOTEBOOK.tensors_of(load_mnist("digits"))


@pytest.fixture(scope="module")
def few(parts):
    return tuple(values[:300] for values in parts["train"])


def test_every_part_is_standardised_by_the_training_images_and_keeps_its_labels(parts):
    digits = load_mnist("digits")
    pixels = digits.train.images / 255
    for name in ("train", "validation", "test"):
        part, (inputs, labels) = getattr(digits, name), parts[name]
        expected = (part.images / 255 - pixels.mean()) / pixels.std()
        np.testing.assert_allclose(inputs[:, 0].cpu().numpy(), expected, atol=1e-4)
        np.testing.assert_array_equal(labels.cpu().numpy(), part.labels)


# ---- networks and what they cost


def test_lenet5_layer_by_layer():
    images = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    usual, smooth = (nn.ReLU, nn.MaxPool2d), (nn.Tanh, nn.AvgPool2d)
    functions = {usual: (F.relu, F.max_pool2d), smooth: (torch.tanh, F.avg_pool2d)}
    for layers, (act, pool) in functions.items():
        network = NOTEBOOK.lenet5(*layers)
        p = list(network.parameters())
        assert sum(values.numel() for values in p) == 61_706
        a = pool(act(F.conv2d(images, p[0], p[1], padding=2)), 2)
        a = pool(act(F.conv2d(a, p[2], p[3])), 2).flatten(1)
        a = act(F.linear(act(F.linear(a, p[4], p[5])), p[6], p[7]))
        torch.testing.assert_close(network(images), F.linear(a, p[8], p[9]), atol=1e-5, rtol=0)


def test_multiply_adds_counted_by_hand():
    lenet = [28 * 28 * 6 * 25, 10 * 10 * 16 * 6 * 25, 400 * 120, 120 * 84, 84 * 10]
    assert [work for _, work in NOTEBOOK.costs_of(NOTEBOOK.lenet5()).values()] == lenet
    resnet = 14 * 14 * 64 * 49 + 4 * 7 * 7 * 64 * 64 * 9 + 512 * 10
    for width, side in ((128, 4), (256, 2), (512, 1)):
        resnet += side * side * (width * width // 2 * (9 + 1) + 3 * width * width * 9)
    costs = NOTEBOOK.costs_of(NOTEBOOK.resnet18_for_digits())
    assert sum(work for _, work in costs.values()) == resnet
    network = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2), nn.Conv2d(4, 8, 3, groups=2))
    found = list(NOTEBOOK.costs_of(network).values())
    assert found == [(40, 13 * 13 * 4 * 9), (8 * 2 * 9 + 8, 11 * 11 * 8 * 2 * 9)]
    assert not any(layer._forward_hooks for layer in network.modules())


def test_the_residual_block_is_torchvisions():
    block, peer = NOTEBOOK.ResidualBlock(6), BasicBlock(6, 6)
    convolutions, norms = block.branch[::3], block.branch[1::3]
    peers = peer.conv1, peer.conv2, peer.bn1, peer.bn2
    for mine, its in zip((*convolutions, *norms), peers, strict=True):
        its.weight.data = mine.weight.data
    for convolution in convolutions:
        nn.init.zeros_(convolution.bias)
    x = torch.randn(4, 6, 5, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(block(x), peer(x))


def test_batch_norm_is_pytorchs_but_for_the_running_variance():
    x = torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    mean, var = torch.zeros(3), torch.ones(3)
    y, new_mean, new_var = NOTEBOOK.batch_norm(x, mean, var, training=True)
    torch.testing.assert_close(y, F.batch_norm(x, mean, var, training=True), atol=1e-5, rtol=0)
    torch.testing.assert_close(new_mean, mean)  # which PyTorch has changed in place
    torch.testing.assert_close((new_var - 0.9) * 80 / 79, var - 0.9)  # PyTorch divides by 79


@pytest.mark.parametrize("larger", [False, True])
def test_a_deep_network_has_so_many_blocks_and_a_larger_start_if_asked(larger):
    torch.manual_seed(0)
    network = NOTEBOOK.deep(4, nn.Identity, False, larger)
    blocks = [m for m in network.modules() if isinstance(m, NOTEBOOK.ResidualBlock)]
    assert len(blocks) == 4 and not any(block.shortcut for block in blocks)
    weights = torch.cat([m.weight.flatten() for b in blocks for m in b.branch[::3]])
    expected = (2 / 72) ** 0.5 if larger else (1 / 72 / 3) ** 0.5
    assert weights.std().item() == pytest.approx(expected, rel=0.1)


# ---- training


def test_train_is_an_ordinary_training(few, parts):
    found = NOTEBOOK.train(NOTEBOOK.lenet5, 3, 0.01, 8, few, parts["validation"], [5, 8])
    torch.manual_seed(3)
    network, order, losses = NOTEBOOK.lenet5(), torch.Generator().manual_seed(3), []
    network.to(NOTEBOOK.device)
    adam = torch.optim.Adam(network.parameters())
    rows = [torch.randperm(300, generator=order).split(64) for _ in range(2)]
    for step, batch in enumerate([*rows[0], *rows[1]][:8]):
        adam.param_groups[0]["lr"] = 0.01 if step < 6 else 0.01 * 3 * (1 - step / 8)
        loss = F.cross_entropy(network(few[0][batch]), few[1][batch])
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(loss.item())
    np.testing.assert_allclose(found.losses, losses, atol=1e-3)
    inputs, labels = parts["validation"]
    right = (network(inputs).argmax(1) == labels).float().mean().item()
    assert [*found.right] == [5, 8] and found.right[8] == pytest.approx(right, abs=0.01)


def test_other_averages_are_those_of_later_batches_alone_or_of_the_images(few):
    network, batches = nn.Sequential(nn.BatchNorm2d(1)).to(NOTEBOOK.device), few[0].split(100)
    for images in batches:
        network(images)
    means, vars_ = zip(*((x.mean().item(), x.var().item()) for x in batches), strict=True)
    weights, (later,) = [0.081, 0.09, 0.1], NOTEBOOK.other_averages(network)
    assert later.running_mean.item() == pytest.approx(np.average(means, weights=weights), abs=1e-5)
    assert later.running_var.item() == pytest.approx(np.average(vars_, weights=weights), abs=1e-4)
    for share, beginning in ((1, False), (1 - 0.9**3, True)):
        (anew,) = NOTEBOOK.other_averages(network, batches[0], beginning)
        assert anew.running_mean.item() == pytest.approx(share * means[0], abs=1e-5)
        var = share * vars_[0] + 1 - share
        assert anew.running_var.item() == pytest.approx(var, abs=1e-4)


def test_all_ways_of_measuring_leave_the_network_as_it_was(few):
    network = NOTEBOOK.start(lambda: NOTEBOOK.deep(2, nn.BatchNorm2d, True), 0)
    network(few[0])
    before = copy.deepcopy(network.state_dict())
    NOTEBOOK.right_of(network, *few), NOTEBOOK.other_averages(network, few[0])
    assert network.training
    for name, values in network.state_dict().items():
        assert torch.equal(values, before[name]), name


# ---- the longer run


def test_the_stored_run_is_complete():
    plan = {(run["network"], run["steps"]) for run in STORED["runs"]}
    ratio = STORED["seconds_per_step"]["ResNet-18"] / STORED["seconds_per_step"]["LeNet-5"]
    long = round(long_run.STEPS * ratio)
    assert {("LeNet-5", 2580), ("ResNet-18", 2580), ("LeNet-5", long)} <= plan
    for run in STORED["runs"]:
        assert run["seed"] in long_run.SEEDS and run["validation"][-1][0] == run["steps"]
    assert all(run["seed"] in long_run.SEARCH_SEEDS for run in STORED["search"])
    text = json.dumps(STORED)
    assert "/" not in text and STORED["data"] == "MNIST"


def test_its_first_points_come_out_again():
    """The first ten losses' mean; rounding differs between platforms, and training enlarges it."""
    if not (data_root() / FOLDER / "train-images-idx3-ubyte").exists():
        pytest.skip("needs MNIST")
    train = NOTEBOOK.tensors_of(load_mnist("mnist"))["train"]
    for run in STORED["runs"]:
        name, *settings = (run[key] for key in long_run.KEY)
        seed, (moment, expected) = settings[0], run["loss"][0]
        network = NOTEBOOK.start(long_run.MAKES[name], seed)
        losses = islice(NOTEBOOK.learn(network, train, *settings), moment)
        found = np.mean([loss.item() for loss in losses])
        assert moment == 10 and found == pytest.approx(expected, rel=0.1), (name, settings)
