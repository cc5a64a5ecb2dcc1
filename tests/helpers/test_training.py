"""The trainer: each member is what the same seed would be alone, by PyTorch's own means."""

import time
from concurrent.futures import ThreadPoolExecutor
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
IMAGES = torch.randn(20, 1, 8, 6, generator=GENERATOR)
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
    first, second = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 2, 2)
    pooled = nn.Sequential(first, nn.ReLU(), nn.MaxPool2d(2))
    return nn.Sequential(pooled, second, nn.Flatten(), Swish(), nn.Linear(12, 3))


def plain_loop(make, seed, inputs, targets, loss, updates, rate=0.1, batch_size=None, **options):
    """The ordinary way to train one network: its losses before each update, and the network."""
    torch.manual_seed(seed)
    network = make()
    if start := options.get("start", truncated_normal_):
        start(network, torch.Generator().manual_seed(seed))
    optimizer = options.get("optimizer", torch.optim.SGD)(network.parameters(), lr=rate)
    order, losses, batches = torch.Generator().manual_seed(seed), [], []
    for update in range(updates):
        if not batches:
            samples = torch.randperm(len(inputs), generator=order)
            batches = list(samples.split(batch_size)) if batch_size else [slice(None)]
        chosen = batches.pop(0)
        outputs = network(inputs[chosen])
        value = loss(outputs.squeeze(1) if outputs.shape[1] == 1 else outputs, targets[chosen])
        losses.append(value.item())
        if "schedule" in options:
            optimizer.param_groups[0]["lr"] = rate * options["schedule"](update / updates)
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
    "Adam": {"optimizer": partial(torch.optim.Adam, fused=True), "rate": 0.01},
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
    settings = {names.get(name, name): value for name, value in options.items()}
    history = train(make, SEEDS, inputs, targets, {"loss": loss}, iterations=15, **settings)
    for member in (0, 4):
        expected = plain_loop(make, member, inputs, targets, plain_loss, 15, **options)
        assert_same(history, member, *expected)


@pytest.mark.parametrize("optimizer", [None, MOMENTUM, torch.optim.Adam])
@pytest.mark.parametrize("network", ["by hand, tanh", "convolutional"])
def test_members_may_differ_in_rate_and_initial_scale(network, optimizer):
    make, inputs, targets, loss, plain_loss = NETWORKS[network]
    rates, scales = [0.01, 0.03, 0.1, 0.02], [0.1, 0.5, 0.1, 1.0]
    starts = [partial(truncated_normal_, std=std) for std in scales]
    settings = {"learning_rate": rates, "initialize": starts, "optimizer": optimizer}
    settings["schedule"] = SETTINGS["schedule"]["schedule"]
    history = train(make, [3, 3, 4, 5], inputs, targets, {"loss": loss}, iterations=12, **settings)
    for member, seed in enumerate([3, 3, 4, 5]):
        options = {"rate": rates[member], "start": starts[member]}
        options["schedule"] = settings["schedule"]
        options |= {"optimizer": optimizer} if optimizer else {}
        assert_same(
            history, member, *plain_loop(make, seed, inputs, targets, plain_loss, 12, **options)
        )


def solving(seeds, make=one_hidden, **options):
    """Networks that are solved, or diverge, at different times; `options` are the trainer's."""
    settings = {"metrics": {"accuracy": binary_accuracy}, "stop_when": "accuracy"}
    settings |= {"iterations": 150, "learning_rate": 0.5, **options}
    return train(make, seeds, INPUTS, LABELS, LOSS, **settings)


def assert_member_alone(history: History, member: int, alone: History) -> None:
    """All that `history` says of a member is what `alone`, its only member, says."""
    points = alone.iterations + 1
    for name, values in alone.curves.items():
        np.testing.assert_allclose(history.curves[name][member, :points], values[0], atol=1e-5)
        assert np.isnan(history.curves[name][member, points:]).all()
    assert history.solved_at[member] == alone.solved_at[0]
    assert history.diverged_at[member] == alone.diverged_at[0]
    for name, values in alone.parameters.items():
        torch.testing.assert_close(history.parameters[name][member], values[0], atol=1e-4, rtol=0)
    for moment, snapshot in alone.snapshots.items():
        for name, values in snapshot.items():
            torch.testing.assert_close(
                history.snapshots[moment][name][member], values[0], atol=1e-4, rtol=0
            )


FEATURES = {
    "stops when solved": {},
    "momentum": {"optimizer": MOMENTUM, "learning_rate": 0.1},
    "Adam": {"optimizer": torch.optim.Adam, "learning_rate": 0.005, "iterations": 300},
    "autograd": {"make": partial(one_hidden, Swish), "optimizer": MOMENTUM, "learning_rate": 0.1},
    "mini-batches": {"batch_size": 5, "iterations": 60, "snapshots_at": (0, 7, 50)},
    "snapshots": {"snapshots_at": (0, 5, 20, 149)},
    "float64": {"initialize": partial(truncated_normal_, std=0.7)},
}


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("feature", FEATURES)
def test_a_member_of_many_equals_the_same_seed_alone(feature, parallel, monkeypatch):
    monkeypatch.setattr(training, "cpu_count", lambda: 2)
    options = FEATURES[feature]
    together = solving(SEEDS, parallel=parallel, **options)
    assert len(set(together.solved_at)) > 2  # members leave the stack at different times
    for member in (0, 3, 5):
        assert_member_alone(together, member, solving([member], **options))


def test_running_statistics_leave_with_their_member():
    settings = {"metrics": {"accuracy": accuracy}, "stop_when": "accuracy", "iterations": 150}
    data = IMAGES, CLASSES, {"loss": cross_entropy}
    together = train(Residual, SEEDS, *data, learning_rate=0.5, initialize=None, **settings)
    assert len(set(together.solved_at)) > 2
    last = int(together.solved_at.argmax())
    alone = train(Residual, [last], *data, learning_rate=0.5, initialize=None, **settings)
    torch.testing.assert_close(
        together.parameters["norm.running_mean"][last],
        alone.parameters["norm.running_mean"][0],
        atol=1e-3,
        rtol=0,
    )


def test_a_diverging_member_leaves_and_disturbs_nobody():
    rates = [0.5, 3e38, 0.5]
    with np.errstate(all="ignore"):
        together = solving([0, 1, 2], learning_rate=rates, initialize=None)
    assert np.isinf(together.solved_at[1]) and together.diverged_at[1] < 10
    assert np.isnan(together.curve("loss")[1, int(together.diverged_at[1]) :]).all()
    assert np.isfinite(together.curve("loss")[1, : int(together.diverged_at[1])]).all()
    for member in (0, 2):
        assert_member_alone(together, member, solving([member], initialize=None))


def test_a_loss_that_is_not_finite_is_no_solution():
    losses = {"loss": lambda logits, _: logits * torch.nan}
    metrics = {"done": lambda logits, _: torch.ones_like(logits)}
    history = train(
        one_hidden, SEEDS, INPUTS, LABELS, losses, metrics=metrics, stop_when="done", iterations=5
    )
    assert (history.diverged_at == 0).all() and not history.solved.any()


@pytest.mark.parametrize("parallel", [False, True])
def test_an_ended_member_keeps_its_last_values_and_snapshots(parallel, monkeypatch):
    monkeypatch.setattr(training, "cpu_count", lambda: 2)
    # One after the other: the first makes snapshots of moments when the second has ended.
    monkeypatch.setattr(
        training, "Parallel", lambda *_, **__: lambda tasks: [f() for f, *_ in tasks]
    )
    options = {"snapshots_at": range(0, 150, 10), "iterations": 150, "parallel": parallel}
    history = solving([*SEEDS][::-1], **options)
    first, longest = int(history.solved_at.argmin()), int(history.solved_at.max())
    end = int(history.solved_at[first])
    assert longest == history.iterations > end  # nobody trains on
    assert history.curve("accuracy")[first, end:].min() == 1
    assert (history.curve("loss")[first, end:] == history.curves["loss"][first, end]).all()
    assert np.isnan(history.curve("loss", "cut")[first, end + 1 :]).all()
    for moment, snapshot in history.snapshots.items():
        for member in np.flatnonzero(history.solved_at < moment):
            for name, values in snapshot.items():
                assert torch.equal(values[member], history.parameters[name][member])
    assert (history.curve("accuracy")[:, 0] < 1).all()
    logits = outputs_of(one_hidden, history.parameters, INPUTS)
    assert binary_accuracy(logits, LABELS).all()


def test_the_limit_ends_training_and_unsolved_members_say_so():
    history = solving(SEEDS, iterations=3)
    assert history.iterations == 3 and not history.solved.any()
    assert np.isinf(history.quantiles()).all()
    solved = solving(SEEDS)
    middle = sorted(solved.solved_at)[2]
    assert solved.quantiles([0, 0.5]).tolist() == [solved.solved_at.min(), middle]


def test_two_losses_with_weights_and_two_outputs():
    losses = {
        "class": lambda outputs, targets: binary_cross_entropy(outputs[0], targets[0]),
        "width": lambda outputs, targets: (outputs[1] - targets[1]) ** 2,
    }
    targets = LABELS, INPUTS.sum(1)
    options = {"iterations": 8, "loss_weights": {"width": 0.1}}
    history = train(TwoHeads, SEEDS, INPUTS, targets, losses, **options)
    network = TwoHeads()
    truncated_normal_(network, torch.Generator().manual_seed(4))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for update in range(8):
        logits, widths = network(INPUTS)
        values = LOGITS(logits, LABELS), F.mse_loss(widths, targets[1])
        for name, value in zip(losses, values, strict=True):
            assert abs(history.curves[name][4, update] - value.item()) < 1e-5
        optimizer.zero_grad()
        (values[0] + 0.1 * values[1]).backward()
        optimizer.step()
    logits, widths = outputs_of(TwoHeads, history.parameters, UNSEEN)
    torch.testing.assert_close(widths[4], network(UNSEEN)[1].detach(), atol=1e-4, rtol=0)


def test_a_loss_weight_is_a_factor_of_the_rate():
    data, weights = (one_hidden, SEEDS, INPUTS, LABELS, LOSS), {"loss": 0.2}
    weighted = train(*data, iterations=9, loss_weights=weights)
    slower = train(*data, iterations=9, learning_rate=0.02)
    np.testing.assert_allclose(weighted.curves["loss"], slower.curves["loss"], atol=1e-6)


def test_metrics_are_means_over_the_samples_or_numbers_of_the_members():
    metrics = {"accuracy": binary_accuracy, "largest": lambda logits, _: logits.abs().amax(1)}
    history = train(one_hidden, SEEDS, INPUTS, LABELS, LOSS, metrics=metrics, iterations=4)
    logits = outputs_of(one_hidden, history.parameters, INPUTS)
    right = ((logits > 0) == (LABELS > 0.5)).float().mean(1)
    np.testing.assert_allclose(history.curves["accuracy"][:, 4], right, atol=1e-6)
    np.testing.assert_allclose(history.curves["largest"][:, 4], logits.abs().amax(1), atol=1e-5)


def test_a_snapshot_is_the_network_at_that_time_and_gives_outputs_in_evaluation_mode():
    unseen = IMAGES[:7] + 1
    options = {"iterations": 7, "batch_size": 5, "learning_rate": 0.2, "snapshots_at": (0, 3, 7)}
    history = train(Residual, SEEDS, IMAGES, CLASSES, {"loss": cross_entropy}, **options)
    assert list(history.snapshots) == [0, 3, 7] and history.seconds > 0
    for moment, parameters in history.snapshots.items():
        task = 2, IMAGES, CLASSES, F.cross_entropy, moment, 0.2
        expected = plain_loop(Residual, *task, batch_size=5)[1].eval()(unseen).detach()
        found = outputs_of(Residual, parameters, unseen)[2]
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
        alone = network_of(Residual, parameters, 2)(unseen).detach()
        torch.testing.assert_close(alone, expected, atol=1e-4, rtol=0)


def test_batch_normalisation_is_in_the_right_mode_on_every_core(monkeypatch):
    monkeypatch.setattr(training, "cpu_count", lambda: 2)
    data = IMAGES, CLASSES, {"loss": cross_entropy}
    alone, dealt = (
        train(Residual, SEEDS, *data, iterations=5, parallel=parallel) for parallel in (False, True)
    )
    np.testing.assert_allclose(dealt.curve("loss"), alone.curve("loss"), atol=2e-5)


def test_every_sample_is_seen_once_an_epoch_in_an_order_of_the_members_own():
    samples = torch.arange(10.0)[:, None]
    seen = {"seen": lambda outputs, targets: (2.0**targets).sum(1)}  # a bit for each sample
    settings = {"iterations": 6, "batch_size": 4, "learning_rate": 0.0, "metrics": seen}
    make, targets = partial(nn.Linear, 1, 1), samples[:, 0]
    history = train(make, [1, 2, 3], samples, targets, {"loss": squared_error}, **settings)
    batches = history.curves["seen"].astype(int)
    assert batches.shape == (3, 6)
    assert (batches[:, :3].sum(1) == 2**10 - 1).all()
    assert (batches[:, 3:].sum(1) == 2**10 - 1).all()
    assert len({tuple(row) for row in batches}) == 3 and (batches[:, :3] != batches[:, 3:]).any()


def test_dtype_follows_the_inputs():
    history = train(two_hidden, SEEDS, INPUTS.double(), LABELS.double(), LOSS, iterations=5)
    assert {values.dtype for values in history.parameters.values()} == {torch.float64}
    single = train(two_hidden, SEEDS, INPUTS, LABELS, LOSS, iterations=5)
    np.testing.assert_allclose(history.curves["loss"], single.curves["loss"], atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("make", [one_hidden, two_hidden])
def test_device_follows_the_inputs(make):
    options = {"iterations": 9, "batch_size": 5, "metrics": {"accuracy": binary_accuracy}}
    there = train(make, SEEDS, INPUTS.cuda(), LABELS.cuda(), LOSS, stop_when="accuracy", **options)
    here = train(make, SEEDS, INPUTS, LABELS, LOSS, stop_when="accuracy", **options)
    assert next(iter(there.parameters.values())).is_cuda
    np.testing.assert_allclose(there.curves["loss"], here.curves["loss"], atol=1e-4)


def test_nothing_draws_from_the_global_generators():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    for initialize in (truncated_normal_, None):
        options = {"iterations": 2, "batch_size": 5, "initialize": initialize}
        train(convolutional, SEEDS, IMAGES, CLASSES, {"loss": cross_entropy}, **options)
    assert torch.equal(torch.get_rng_state(), before)


def test_networks_made_in_several_threads_have_their_own_seeds():
    def slowly():
        first = nn.Linear(6, 5)
        time.sleep(0.01)  # while another thread would draw
        return nn.Sequential(first, nn.Linear(5, 1))

    def start(seed):
        return initial_parameters(slowly, [seed], None)["1.weight"]

    with ThreadPoolExecutor(4) as pool:
        assert all(map(torch.equal, map(start, range(8)), pool.map(start, range(8))))


def test_truncated_normal_is_cut_and_has_the_right_spread():
    network = nn.Linear(300, 300)
    truncated_normal_(network, torch.Generator().manual_seed(0), std=0.5, bias=0.3)
    assert network.weight.abs().max() <= 1 and (network.bias == 0.3).all()
    assert 0.43 < network.weight.std() < 0.45  # 0.88 std, for a normal cut at 2 std
    first, again = (initial_parameters(one_hidden, seeds)["0.weight"] for seeds in ([7], [3, 7]))
    assert torch.equal(first[0], again[1]) and not torch.equal(again[0], again[1])


class Softmax(nn.Module):
    def forward(self, z):
        return torch.softmax(z, 1)


BAD_NETWORKS = {
    "LSTM": (lambda: nn.Sequential(nn.LSTM(6, 2)), "network.0 is a layer of type LSTM"),
    "Dropout": (lambda: nn.Sequential(nn.Linear(6, 2), nn.Dropout()), "type Dropout"),
    "groups": (lambda: nn.Conv2d(2, 2, 1, groups=2), "type Conv2d"),
    "mixes": (lambda: nn.Sequential(nn.Linear(6, 2), Softmax(), nn.Linear(2, 1)), "stacked"),
}


@pytest.mark.parametrize("name", BAD_NETWORKS)
def test_a_network_that_cannot_be_stacked_is_named(name):
    make, message = BAD_NETWORKS[name]
    inputs = torch.zeros(24, 2, 3, 3) if name == "groups" else INPUTS
    with pytest.raises(ValueError, match=message):
        train(make, SEEDS, inputs, LABELS, LOSS, iterations=2, initialize=None)


BAD_SETTINGS = [
    ({"metrics": {"loss": binary_accuracy}}, "names of their own: .'loss', 'loss'."),
    ({"loss_weights": {"L2": 1.0}}, "loss_weights names .'L2'., but the losses are .'loss'."),
    ({"stop_when": "loss"}, "stop_when is 'loss', but the metrics are .'accuracy'."),
    ({"stop_when": "acuracy"}, "stop_when is 'acuracy'"),
    ({"iterations": -1}, "iterations is -1; expected at least 0"),
    ({"learning_rate": [0.1, 0.2]}, "could not be broadcast .* .2,. *and requested shape .6,."),
    ({"targets": LABELS[:5]}, "shapes .*; expected .n, ....."),
    ({"seeds": []}, "seeds is empty"),
]


@pytest.mark.parametrize(("settings", "message"), BAD_SETTINGS)
def test_bad_settings_are_explained(settings, message):
    usual = {"seeds": SEEDS, "inputs": INPUTS, "targets": LABELS, "losses": LOSS, "iterations": 2}
    usual |= {"metrics": {"accuracy": binary_accuracy}}
    with pytest.raises(ValueError, match=message):
        train(one_hidden, **{**usual, **settings})


def test_unknown_curves_are_explained():
    history = solving(SEEDS, iterations=1)
    with pytest.raises(KeyError, match="no curve 'acuracy'; this history has"):
        history.curve("acuracy")
    with pytest.raises(ValueError, match="'keep' or 'cut', not 'drop'"):
        history.curve("loss", "drop")


def test_losses_are_pytorchs_and_stay_finite_where_outputs_are_sure():
    logits = torch.tensor([[-200.0, -3.0, 0.0, 0.5, 90.0, 200.0]] * 2)
    for labels in (torch.zeros(2, 6), torch.ones(2, 6)):
        expected = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
        torch.testing.assert_close(binary_cross_entropy(logits, labels), expected)
    scores, classes = torch.randn(2, 5, 3, generator=GENERATOR), torch.tensor([[0, 1, 2, 0, 1]] * 2)
    found = cross_entropy(scores, classes)
    expected = F.cross_entropy(scores.flatten(0, 1), classes.flatten(), reduction="none")
    torch.testing.assert_close(found.flatten(), expected)
