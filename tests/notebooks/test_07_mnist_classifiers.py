"""The code that notebook 07 teaches: networks, losses after a softmax, counts, searches."""

import math
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers.gradient_check import assert_gradients_close
from helpers.mnist import load_mnist
from tests.tools.notebook_tools import load_implementation

NOTEBOOK = load_implementation("07_mnist_classifiers")
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(scale=3, size=(7, 10))
LABELS = RNG.integers(10, size=7)
TARGETS = np.eye(10)[LABELS]
LOSSES = ("cross-entropy", "squared error", "softmax twice")


@pytest.fixture(scope="module")
def tensors():
    return NOTEBOOK.to_tensors(load_mnist("digits"), 0.2, 0.3)


def stored(layer_outputs, name):
    """A forward hook that notes the shape of an output."""
    return lambda layer, inputs, output: layer_outputs.update({name: tuple(output.shape[1:])})


def layer_shapes(network):
    shapes = {}
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.MaxPool2d | nn.AvgPool2d):
            layer.register_forward_hook(stored(shapes, name))
    network.eval()(torch.zeros(2, 1, 28, 28))
    return list(shapes.values())


# ---- inputs


def test_the_handouts_normalisation_maps_paper_to_minus_one_and_ink_to_one():
    images = np.array([[[0, 255], [51, 204]]], dtype=np.uint8)
    inputs = NOTEBOOK.to_inputs(images)
    assert inputs.shape == (1, 1, 2, 2) and inputs.dtype == torch.float32
    torch.testing.assert_close(inputs[0, 0], torch.tensor([[-1.0, 1.0], [-0.6, 0.6]]))


def test_every_part_is_normalised_alike_and_keeps_its_labels(tensors):
    digits = load_mnist("digits")
    for name in ("train", "validation", "test"):
        part, (inputs, labels) = getattr(digits, name), tensors[name]
        np.testing.assert_allclose(
            inputs[:, 0].cpu().numpy(), (part.images / 255 - 0.2) / 0.3, atol=1e-5
        )
        np.testing.assert_array_equal(labels.cpu().numpy(), part.labels)


# ---- networks


def test_shapes_of_all_layers():
    assert layer_shapes(NOTEBOOK.FeedForward()) == [(128,), (64,), (10,)]
    lenet = [(6, 28, 28), (6, 14, 14), (16, 10, 10), (16, 5, 5), (120,), (84,), (10,)]
    assert layer_shapes(NOTEBOOK.LeNet5()) == lenet
    assert layer_shapes(NOTEBOOK.LeNet5(nn.Tanh, nn.AvgPool2d)) == lenet
    resnet = layer_shapes(NOTEBOOK.resnet18_for_digits())
    assert resnet[:2] == [(64, 14, 14), (64, 7, 7)] and resnet[-2:] == [(512, 1, 1), (10,)]


def test_parameters_counted_by_hand():
    count = NOTEBOOK.count_parameters
    assert count(NOTEBOOK.FeedForward()) == 785 * 128 + 129 * 64 + 65 * 10 == 109_386
    assert count(NOTEBOOK.FeedForward((32,))) == 785 * 32 + 33 * 10
    lenet = 6 * 26 + 16 * (6 * 25 + 1) + 401 * 120 + 121 * 84 + 85 * 10
    assert count(NOTEBOOK.LeNet5()) == lenet == 61_706
    # Two 3×3 convolutions a block, 2 · width values a batch normalisation, 1×1 shortcuts.
    resnet = 49 * 64 + 2 * 64 + 4 * (9 * 64**2 + 2 * 64)
    for width in (128, 256, 512):
        first = 9 * width * width // 2 + width * width // 2  # the first of 4, and the shortcut
        resnet += first + 3 * 9 * width**2 + 5 * 2 * width
    assert count(NOTEBOOK.resnet18_for_digits()) == resnet + 513 * 10 == 11_175_370


def test_hidden_layers_have_a_relu_and_the_output_has_none():
    kinds = [type(layer) for layer in NOTEBOOK.FeedForward((5, 4)).layers]
    assert kinds == [nn.Flatten, nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear]
    assert isinstance(NOTEBOOK.LeNet5().classifier[-1], nn.Linear)


def test_multiply_adds_counted_by_hand():
    def total(network):
        return sum(NOTEBOOK.multiply_adds(network).values())

    assert total(NOTEBOOK.FeedForward()) == 784 * 128 + 128 * 64 + 64 * 10
    lenet = [28 * 28 * 6 * 25, 10 * 10 * 16 * 6 * 25, 400 * 120, 120 * 84, 84 * 10]
    assert list(NOTEBOOK.multiply_adds(NOTEBOOK.LeNet5()).values()) == lenet
    resnet = 14 * 14 * 64 * 49 + 4 * 7 * 7 * 64 * 64 * 9 + 512 * 10
    for width, side in ((128, 4), (256, 2), (512, 1)):
        per_place = width * width // 2 * (9 + 1) + 3 * width * width * 9
        resnet += side * side * per_place
    assert total(NOTEBOOK.resnet18_for_digits()) == resnet == 33_010_944


def test_grouped_and_strided_convolutions_are_counted_by_their_outputs():
    network = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2), nn.Conv2d(4, 8, 3, groups=2))
    network.append(nn.Flatten(1)).append(nn.Linear(8 * 11 * 11, 3))
    counts = list(NOTEBOOK.multiply_adds(network).values())
    assert counts == [13 * 13 * 4 * 9, 11 * 11 * 8 * 2 * 9, 8 * 11 * 11 * 3]


def test_counting_leaves_no_hooks():
    network = NOTEBOOK.LeNet5()
    NOTEBOOK.multiply_adds(network)
    assert not any(layer._forward_hooks for layer in network.modules())


def test_initial_weights_belong_to_the_seed_and_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    first, again, other = (NOTEBOOK.initial(NOTEBOOK.LeNet5, seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    for a, b, c in zip(first.parameters(), again.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b) and not torch.equal(a, c)


# ---- training


def test_two_at_a_time_keeps_the_order_and_computes_on_one_core_each():
    gate = threading.Barrier(2, timeout=10)  # passed only if two calls run at once

    def call(number, wait):
        gate.wait()
        time.sleep(wait)
        return number, torch.get_num_threads()

    found = NOTEBOOK.two_at_a_time(call, range(4), (0.05, 0, 0.05, 0))
    assert found == [(0, 1), (1, 1), (2, 1), (3, 1)]


def test_score_by_hand():
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0], [4.0, 0.0]])
    labels = torch.tensor([0, 1, 1])
    found = NOTEBOOK.score(logits, labels)
    wanted = (math.log1p(math.exp(-2)) + math.log1p(math.exp(-1)) + math.log1p(math.exp(4))) / 3
    assert found == {"loss": pytest.approx(wanted), "accuracy": pytest.approx(2 / 3)}
    both = NOTEBOOK.score(torch.stack([-logits, logits], dim=1), labels)
    assert {"loss 1": both["loss 1"], "accuracy 1": both["accuracy 1"]} == {
        f"{name} 1": value for name, value in found.items()
    }
    assert both["accuracy 0"] == pytest.approx(1 / 3) and both["loss 0"] < both["loss 1"]


def test_all_logits_are_those_of_evaluation_mode():
    network = nn.Sequential(nn.Flatten(), nn.Dropout(0.9)).train()
    inputs = torch.ones(3, 1, 28, 28)
    torch.testing.assert_close(NOTEBOOK.all_logits(network, inputs), torch.ones(3, 784))


def test_all_logits_are_those_of_one_batch():
    network = NOTEBOOK.initial(lambda: NOTEBOOK.FeedForward((4,)), 0)
    inputs = torch.randn(1003, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    found = NOTEBOOK.all_logits(network, inputs)
    torch.testing.assert_close(found, network(inputs).detach())
    assert not found.requires_grad


def test_the_learning_rate_falls_to_zero_in_a_straight_line(tensors, monkeypatch):
    rates = []
    step = torch.optim.Adam.step

    def noting(self, *arguments, **options):
        rates.append(self.param_groups[0]["lr"])
        return step(self, *arguments, **options)

    monkeypatch.setattr(torch.optim.Adam, "step", noting)
    network = NOTEBOOK.FeedForward((4,))
    history = NOTEBOOK.fit(network, 0, tensors, rate=0.004, falls_over=2, epochs=2, images=100)
    assert len(history.batch_losses) == 4  # two batches an epoch
    np.testing.assert_allclose(rates, [0.004, 0.003, 0.002, 0.001], rtol=1e-6)


def test_fit_learns_from_the_training_part_alone(tensors):
    seen = {"train": tensors["train"], "validation": tensors["validation"]}  # no test part
    network = NOTEBOOK.initial(lambda: NOTEBOOK.FeedForward((32,)), 0)
    history = NOTEBOOK.fit(network, 0, seen, epochs=3, batch_size=32, evaluated=200)
    assert len(history.batch_losses) == 3 * math.ceil(len(tensors["train"][0]) / 32)
    assert history.measured["accuracy"][0] < 0.3 and history.measured["accuracy"][-1] > 0.7
    inputs, labels = (values[:200] for values in tensors["validation"])
    found = NOTEBOOK.score(NOTEBOOK.all_logits(network, inputs), labels)
    assert found["accuracy"] == history.measured["accuracy"][-1]


def test_the_seed_orders_the_batches(tensors):
    runs = [
        NOTEBOOK.fit(NOTEBOOK.initial(NOTEBOOK.FeedForward, 0), seed, tensors, max_steps=3)
        for seed in (1, 1, 2)
    ]
    losses = [run.batch_losses.tolist() for run in runs]
    assert losses[0] == losses[1] != losses[2]


# ---- networks side by side


def test_a_stack_computes_what_its_members_compute():
    networks = [NOTEBOOK.initial(NOTEBOOK.FeedForward, seed) for seed in (1, 2, 3)]
    images = torch.randn(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    found = NOTEBOOK.SideBySide(networks)(images)
    assert found.shape == (4, 3, 10)
    for m, network in enumerate(networks):
        torch.testing.assert_close(found[:, m], network(images), atol=1e-5, rtol=1e-5)


def test_a_stack_copies_and_does_not_share_weights():
    network = NOTEBOOK.FeedForward()
    stack = NOTEBOOK.SideBySide([network, network])
    before = network.layers[-1].bias.clone()
    stack.biases[-1].data += 1
    assert torch.equal(network.layers[-1].bias, before)
    assert NOTEBOOK.count_parameters(stack) == 2 * 109_386


@pytest.mark.parametrize(
    "options",
    [
        {"loss": F.cross_entropy, "falls_over": 2},
        {"loss": NOTEBOOK.squared_error, "optimizer": torch.optim.SGD, "rate": 0.1},
    ],
)
def test_members_are_trained_as_if_each_were_alone(tensors, options):
    options = {"images": 256, "epochs": 2, **options}
    seeds = range(3, 7)
    stacks, found = NOTEBOOK.fit_together(seeds, tensors, **options)
    assert found["batch losses"].shape == (4, 8) and found["accuracy"].shape == (4, 3)
    for m, (seed, order) in enumerate(zip(seeds, (3, 3, 5, 5), strict=True)):  # two stacks of 2
        network = NOTEBOOK.initial(NOTEBOOK.FeedForward, seed)
        alone = NOTEBOOK.fit(network, order, tensors, **options)
        np.testing.assert_allclose(found["batch losses"][m], alone.batch_losses, rtol=1e-3)
        np.testing.assert_allclose(found["loss"][m], alone.measured["loss"], rtol=1e-3)
        np.testing.assert_allclose(found["accuracy"][m], alone.measured["accuracy"], atol=0.01)
        logits = NOTEBOOK.logits_of(stacks, tensors["test"][0])[:, m]
        expected = NOTEBOOK.score(logits, tensors["test"][1])["accuracy"]
        assert NOTEBOOK.accuracies(stacks, tensors)[m] == pytest.approx(expected)


def test_the_output_bias_makes_a_start_that_is_sure_of_class_0(tensors):
    stacks, _ = NOTEBOOK.fit_together(range(2), tensors, output_bias=50.0, rate=1e-9, max_steps=1)
    p = NOTEBOOK.logits_of(stacks, tensors["test"][0]).softmax(-1)
    assert p.shape == (300, 2, 10) and p[..., 0].min() > 0.999


def test_a_stopped_training_continues_with_the_same_history(tensors, tmp_path):
    def run(steps, checkpoint):
        network = NOTEBOOK.initial(NOTEBOOK.LeNet5, 1)
        history = NOTEBOOK.fit(network, 2, tensors, images=160, falls_over=4, max_steps=steps,
                               evaluate_every=2, evaluated=50, checkpoint=checkpoint)  # fmt: skip
        return network, history

    whole_network, whole = run(10, None)
    run(4, tmp_path / "half.pt")
    network, continued = run(10, tmp_path / "half.pt")
    np.testing.assert_array_equal(continued.batch_losses, whole.batch_losses)
    np.testing.assert_array_equal(continued.measured["loss"], whole.measured["loss"])
    convolution = network.features[3].weight
    assert convolution.is_contiguous(memory_format=torch.channels_last)
    for mine, theirs in zip(network.parameters(), whole_network.parameters(), strict=True):
        assert torch.equal(mine, theirs)


# ---- losses after a softmax


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_equal_central_differences(loss):
    gradient = NOTEBOOK.loss_gradient(LOGITS, TARGETS, loss)
    assert_gradients_close(
        lambda z: NOTEBOOK.loss_value(z, TARGETS, loss).sum(), {"z": LOGITS}, {"z": gradient}
    )


@pytest.mark.parametrize("loss", LOSSES)
def test_values_and_gradients_equal_pytorchs(loss):
    z = torch.tensor(LOGITS, requires_grad=True)
    value = NOTEBOOK.LOSSES[loss](z, torch.tensor(LABELS))
    value.backward()
    assert NOTEBOOK.loss_value(LOGITS, TARGETS, loss).mean() == pytest.approx(value.item())
    gradient = NOTEBOOK.loss_gradient(LOGITS, TARGETS, loss) / len(LOGITS)
    np.testing.assert_allclose(gradient, z.grad.numpy(), rtol=0, atol=1e-14)


def test_the_torch_losses_are_what_they_are_called():
    z, y = torch.tensor(LOGITS), torch.tensor(LABELS)
    p = z.softmax(1)
    assert NOTEBOOK.LOSSES["cross-entropy"] is F.cross_entropy
    expected = ((p - torch.tensor(TARGETS)) ** 2).sum() / len(y)
    torch.testing.assert_close(NOTEBOOK.squared_error(z, y), expected)
    layer = nn.Sequential(nn.Softmax(dim=1))
    torch.testing.assert_close(NOTEBOOK.softmax_twice(z, y), nn.CrossEntropyLoss()(layer(z), y))


def test_the_softmax_does_not_overflow():
    np.testing.assert_allclose(NOTEBOOK.softmax(np.array([1e4, 0.0])), [1, 0])


def test_through_softmax_is_the_jacobian():
    p, v = NOTEBOOK.softmax(LOGITS[0]), RNG.normal(size=10)
    jacobian = np.diag(p) - np.outer(p, p)
    np.testing.assert_allclose(NOTEBOOK.through_softmax(p, v), jacobian @ v, rtol=0, atol=1e-14)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_the_floor_is_the_least_loss_and_one_above_it_the_largest(classes):
    floor = NOTEBOOK.softmax_twice_floor(classes)
    certain = 1e4 * torch.eye(classes)
    losses = [F.cross_entropy(certain[k].softmax(0), torch.tensor(0)).item() for k in (0, 1)]
    assert losses == pytest.approx([floor, floor + 1], abs=1e-5)
    # Ascent from many starts finds nothing below it.
    z = torch.tensor(RNG.normal(size=(50, classes)), requires_grad=True)
    optimizer = torch.optim.Adam([z], lr=0.3)
    for _ in range(150):
        loss = F.cross_entropy(z.softmax(1), torch.zeros(50, dtype=torch.long), reduction="none")
        assert loss.min() >= floor - 1e-9
        optimizer.zero_grad()
        loss.sum().backward()
        optimizer.step()
    assert loss.min() < floor + 1e-3


def test_the_floor_for_ten_classes():
    assert NOTEBOOK.softmax_twice_floor() == pytest.approx(math.log(math.e + 9) - 1)
    assert NOTEBOOK.softmax_twice_floor() == pytest.approx(1.4611501717, abs=1e-9)


# ---- mistakes


def test_confusion_matrix_by_hand():
    found = NOTEBOOK.confusion_matrix([0, 0, 2, 2, 2], [0, 1, 2, 2, 0], classes=3)
    np.testing.assert_array_equal(found, [[1, 1, 0], [0, 0, 0], [1, 0, 2]])


def test_the_most_confident_mistakes_come_first_and_are_mistakes():
    p = np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.05, 0.95], [0.3, 0.7]])
    labels = np.array([0, 1, 0, 1, 0])
    np.testing.assert_array_equal(NOTEBOOK.most_confident_mistakes(p, labels, 2), [1, 4])
    np.testing.assert_array_equal(NOTEBOOK.most_confident_mistakes(p, labels, 9), [1, 4, 2])


# ---- searches


def made_up_table(seed):
    """Rising accuracies of every configuration of the space."""
    rng = np.random.default_rng(seed)
    points = NOTEBOOK.product(*NOTEBOOK.SPACE.values())
    return {point: np.sort(rng.random(NOTEBOOK.ROUNDS)) for point in points}


KINDS = ("grid search", "random search", "successive halving")


@pytest.mark.parametrize("kind", KINDS)
def test_each_search_spends_exactly_its_budget(kind):
    for seed in range(20):
        meter = NOTEBOOK.search(kind, made_up_table(seed), np.random.default_rng(seed))
        assert len(meter.trace) == NOTEBOOK.BUDGET == 48
        assert sum(meter.trained.values()) == 48
        paid = [(configuration, done) for configuration, done, _ in meter.trace]
        assert len(set(paid)) == 48  # no round is paid for twice, and none is skipped
        for configuration, rounds in meter.trained.items():
            assert {(configuration, r + 1) for r in range(rounds)} <= set(paid)


@pytest.mark.parametrize("kind", KINDS)
def test_best_so_far_never_falls_and_ends_at_what_is_returned(kind):
    table = made_up_table(1)
    meter = NOTEBOOK.search(kind, table, np.random.default_rng(1))
    best = meter.best_so_far()
    assert best.shape == (48,) and (np.diff(best) >= 0).all()
    configuration, rounds, accuracy = meter.best()
    assert accuracy == best[-1] == table[configuration][rounds - 1]
    assert accuracy == max(a for _, _, a in meter.trace)


@pytest.mark.parametrize("kind", KINDS)
def test_a_search_belongs_to_its_seed(kind):
    table = made_up_table(2)
    traces = [NOTEBOOK.search(kind, table, np.random.default_rng(seed)).trace for seed in (4, 4, 5)]
    assert traces[0] == traces[1] != traces[2]


@pytest.mark.parametrize("kind", KINDS)
def test_a_search_reads_only_what_it_pays_for(kind):
    read = set()

    class Curve:
        def __init__(self, configuration):
            self.configuration = configuration

        def __getitem__(self, index):
            read.add((self.configuration, index + 1))
            return hash((self.configuration, index)) % 1000 / 1000

    table = {point: Curve(point) for point in made_up_table(0)}
    meter = NOTEBOOK.search(kind, table, np.random.default_rng(3))
    assert read == {(configuration, rounds) for configuration, rounds, _ in meter.trace}


def test_halving_keeps_the_better_half():
    table = made_up_table(3)
    candidates = NOTEBOOK.random_configurations(NOTEBOOK.SPACE, 24, np.random.default_rng(0))
    meter = NOTEBOOK.Meter(table, 48)
    NOTEBOOK.successive_halving(meter, candidates)
    for rounds, previous in ((2, 1), (4, 2)):
        alive = [c for c, trained in meter.trained.items() if trained >= previous]
        kept = {c for c in alive if meter.trained[c] >= rounds}
        dropped = set(alive) - kept
        assert len(kept) == len(dropped)
        worst = min(table[c][previous - 1] for c in kept)
        assert worst >= max(table[c][previous - 1] for c in dropped)
    assert sorted(meter.trained.values()) == [1] * 12 + [2] * 6 + [4] * 6


def test_a_meter_continues_and_never_overspends():
    table = {"a": [0.1, 0.5, 0.4], "b": [0.2, 0.3, 0.9]}
    meter = NOTEBOOK.Meter(table, 4)
    assert meter.train("a", 1) == 0.1 and meter.train("a", 3) == 0.4 and meter.train("a", 2) == 0.5
    assert meter.trace == [("a", 1, 0.1), ("a", 2, 0.5), ("a", 3, 0.4)]
    assert meter.best() == ("a", 2, 0.5)
    with pytest.raises(RuntimeError, match="budget of 4 rounds"):
        meter.train("b", 2)
    assert len(meter.trace) == 4


def test_every_grid_is_a_grid_and_none_comes_twice():
    grids = NOTEBOOK.all_grids(NOTEBOOK.SPACE)
    assert len(grids) == len({tuple(grid) for grid in grids}) == 6 * 3 * 3
    table = made_up_table(0)
    for grid in grids:
        levels = [sorted(set(values)) for values in zip(*grid, strict=True)]
        assert [len(level) for level in levels] == [3, 2, 2] and len(set(grid)) == 12
        assert all(point in table for point in grid)
        assert levels[0][1] / levels[0][0] == pytest.approx(levels[0][2] / levels[0][1])


def test_grid_searches_differ_in_grid_and_in_order():
    table = made_up_table(0)
    trained = [
        tuple(NOTEBOOK.search("grid search", table, np.random.default_rng(seed)).trained)
        for seed in range(60)
    ]
    assert len({frozenset(points) for points in trained}) > 20
    assert sum(list(points) == sorted(points) for points in trained) < 5


def test_random_configurations_differ_and_cover_the_space():
    found = [
        NOTEBOOK.random_configurations(NOTEBOOK.SPACE, 24, np.random.default_rng(seed))
        for seed in range(40)
    ]
    assert all(len(set(points)) == 24 for points in found)
    assert set().union(*found) == set(made_up_table(0))


# ---- comparison of two networks


def test_running_mean_and_steps_to_reach_by_hand():
    losses = np.array([3.0, 2.0, 1.0, 1.0, 0.0, 0.0])
    np.testing.assert_allclose(NOTEBOOK.running_mean(losses, 2), [2.5, 1.5, 1.0, 0.5, 0.0])
    assert NOTEBOOK.steps_to_reach(losses, 1.2, width=2) == 4  # the mean of batches 3 and 4
    assert NOTEBOOK.steps_to_reach(losses, 5, width=2) == 2
    assert NOTEBOOK.steps_to_reach(losses, 0.0, width=2) == math.inf


def test_the_implementation_needs_no_data():
    assert isinstance(NOTEBOOK, SimpleNamespace) and not hasattr(NOTEBOOK, "digits")
