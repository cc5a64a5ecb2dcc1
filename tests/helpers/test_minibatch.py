"""The mini-batch trainer against a plain PyTorch loop, and its checkpoints."""

import os
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers import checkpoints, minibatch
from helpers.checkpoints import read_checkpoint, write_checkpoint
from helpers.minibatch import train_minibatches

SAMPLES, BATCH, PER_EPOCH = 100, 16, 7  # 6 batches of 16 and one of 4
INPUTS = torch.randn(SAMPLES, 6, generator=torch.Generator().manual_seed(5))
LABELS = (INPUTS[:, 0] > 0).long()


def make_network(seed=0, hidden=8):
    """A network with everything that a checkpoint has to carry: statistics and random layers."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(6, hidden), nn.BatchNorm1d(hidden), nn.Dropout(0.3), nn.Linear(hidden, 2)
    )


def accuracy(network):
    return {"accuracy": (network(INPUTS).argmax(1) == LABELS).float().mean()}


def train(network=None, loss=F.cross_entropy, inputs=INPUTS, labels=LABELS, rate=0.01, **settings):
    """One training with Adam and a schedule; the same every time it is called."""
    network = make_network() if network is None else network
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    settings = {
        "generator": torch.Generator().manual_seed(1),
        "batch_size": BATCH,
        "scheduler": torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.02, total_steps=999),
        "evaluate": accuracy,
    } | settings
    return train_minibatches(network, optimizer, loss, inputs, labels, **settings)


def train_with(make_optimizer, make_scheduler=lambda optimizer: None, **settings):
    """The same with another optimiser and schedule."""
    network = make_network()
    optimizer = make_optimizer(network)
    settings = {
        "generator": torch.Generator().manual_seed(1),
        "scheduler": make_scheduler(optimizer),
        "evaluate": accuracy,
    } | settings
    return train_minibatches(network, optimizer, F.cross_entropy, INPUTS, LABELS, **settings)


def assert_same_history(left, right):
    np.testing.assert_array_equal(left.batch_losses, right.batch_losses)
    np.testing.assert_array_equal(left.steps, right.steps)
    assert left.measured.keys() == right.measured.keys()
    for name in left.measured:
        np.testing.assert_array_equal(left.measured[name], right.measured[name])


def assert_same_weights(left, right):
    for name, value in left.state_dict().items():
        assert torch.equal(value, right.state_dict()[name]), name


def interrupt_after(calls, function):
    """`function`, until it has been called so often; then Ctrl-C."""
    count = 0

    def interrupted(*arguments):
        nonlocal count
        count += 1
        if count > calls:
            raise KeyboardInterrupt
        return function(*arguments)

    return interrupted


# ---- the training itself


def test_it_does_what_a_plain_loop_does():
    network = make_network()
    history = train(network, epochs=3)
    plain = make_network()
    optimizer = torch.optim.Adam(plain.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.02, total_steps=999)
    generator = torch.Generator().manual_seed(1)
    losses = []
    for _ in range(3):
        for batch in torch.randperm(SAMPLES, generator=generator).split(BATCH):
            optimizer.zero_grad()
            loss = F.cross_entropy(plain(INPUTS[batch]), LABELS[batch])
            loss.backward()
            optimizer.step()
            scheduler.step()
            losses.append(loss.item())
    np.testing.assert_array_equal(history.batch_losses, np.float32(losses))
    assert_same_weights(network, plain)


def test_every_sample_is_seen_once_an_epoch_in_a_new_order():
    seen = []

    def loss(outputs, labels):
        seen.append(labels.tolist())
        return outputs.sum()

    network = nn.Linear(1, 1)
    train(network, loss, torch.zeros(SAMPLES, 1), torch.arange(SAMPLES), evaluate=None, epochs=2)
    assert [len(batch) for batch in seen] == 2 * ([BATCH] * 6 + [4])
    samples = list(chain.from_iterable(seen))
    epochs = [samples[:SAMPLES], samples[SAMPLES:]]
    assert [sorted(epoch) for epoch in epochs] == 2 * [list(range(SAMPLES))]
    assert epochs[0] != epochs[1] and epochs[0] != sorted(epochs[0])


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({"epochs": 2}, [0, 7, 14]),
        ({"max_steps": 10}, [0, 7, 10]),
        ({"epochs": 2, "max_steps": 10}, [0, 7, 10]),
        ({"epochs": 1, "max_steps": 10}, [0, 7]),
        ({"epochs": 2, "evaluate_every": 5}, [0, 5, 10, 14]),
        ({"epochs": 2, "evaluate_every": 5, "evaluate": None}, [0, 5, 10, 14]),
    ],
)
def test_measurements_come_before_regularly_and_at_the_end(settings, steps):
    history = train(**settings)
    assert history.steps.tolist() == steps
    assert len(history.batch_losses) == steps[-1]
    np.testing.assert_allclose(history.epochs, np.array(steps) / PER_EPOCH)
    assert all(len(values) == len(steps) for values in history.measured.values())
    assert list(history.measured) == (["accuracy"] if "evaluate" not in settings else [])


def test_the_first_measurement_is_the_untrained_network():
    untrained = make_network().eval()
    history = train(epochs=1)
    assert history.measured["accuracy"][0] == accuracy(untrained)["accuracy"].item()


def test_training_learns():
    history = train(epochs=30)
    assert history.measured["accuracy"][-1] > 0.95 > history.measured["accuracy"][0] + 0.2


class Clock:
    """A clock that goes only where it is told to."""

    now = 0.0

    def perf_counter(self):
        return self.now

    def taking(self, seconds, function):
        def slow(*arguments):
            self.now += seconds
            return function(*arguments)

        return slow


def test_time_ends_training_and_evaluations_do_not_count(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(minibatch, "time", clock)
    loss, evaluate = clock.taking(0.25, F.cross_entropy), clock.taking(8.0, accuracy)
    history = train(loss=loss, max_seconds=2.0, evaluate=evaluate, evaluate_every=3)
    assert history.steps.tolist() == [0, 3, 6, 8]
    assert history.seconds.tolist() == [0.0, 0.75, 1.5, 2.0]


def test_time_before_an_interruption_counts(tmp_path, monkeypatch):
    clock, path = Clock(), tmp_path / "run.pt"
    monkeypatch.setattr(minibatch, "time", clock)
    loss = clock.taking(0.25, F.cross_entropy)
    train(loss=loss, max_steps=3, checkpoint=path)
    clock.now += 60.0
    history = train(loss=loss, max_seconds=2.0, checkpoint=path)
    assert history.steps.tolist() == [0, 3, 7, 8]
    assert history.seconds.tolist() == [0.0, 0.75, 1.75, 2.0]


def test_evaluation_is_in_evaluation_mode_without_gradients_and_training_is_not():
    modes = []

    def evaluate(network):
        modes.append(("evaluate", network.training, torch.is_grad_enabled()))
        return {}

    def loss(outputs, labels):
        modes.append(("train", network.training, torch.is_grad_enabled()))
        return F.cross_entropy(outputs, labels)

    network = make_network()
    train(network, loss, epochs=1, evaluate=evaluate)
    assert set(modes) == {("evaluate", False, False), ("train", True, True)}


def test_a_network_in_evaluation_mode_is_trained_in_training_mode():
    assert_same_history(train(make_network().eval(), epochs=1), train(epochs=1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "nothing ends this training; give one of epochs, max_steps, max_seconds"),
        ({"epochs": 0}, "epochs is 0; expected a positive number"),
        ({"max_seconds": -1.0}, "max_seconds is -1.0"),
        ({"epochs": 1, "batch_size": 0}, "batch_size is 0"),
        ({"epochs": 1, "evaluate_every": 0}, "evaluate_every is 0"),
        ({"epochs": 1, "labels": LABELS[1:]}, "100 and 99 samples"),
        ({"epochs": 1, "inputs": INPUTS[:0], "labels": LABELS[:0]}, "at least one"),
        ({"epochs": 1, "inputs": INPUTS.numpy()}, "inputs: expected a tensor, found ndarray"),
        ({"epochs": 1, "labels": LABELS.tolist()}, "labels: expected a tensor, found list"),
        ({"epochs": 1.5}, "epochs is 1.5; expected an integer"),
        ({"epochs": 1, "batch_size": 16.0}, "batch_size is 16.0; expected an integer"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises((ValueError, TypeError), match=message):
        train(**settings)


def test_numpys_integers_are_integers():
    assert_same_history(train(epochs=np.int64(1), batch_size=np.int32(BATCH)), train(epochs=1))


def test_measurements_whose_names_change_are_refused():
    names = iter(["first", "other"])
    with pytest.raises(ValueError, match=r"evaluate: expected .*\['first'\], found \['other'\]"):
        train(epochs=1, evaluate=lambda network: {next(names): 0.0})


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_device_of_the_network_is_used(tmp_path):
    on_cpu = train(epochs=2)
    network = make_network().cuda()
    evaluate = {"evaluate": lambda net: {"on cuda": next(net.parameters()).is_cuda}}
    history = train(network, epochs=2, checkpoint=tmp_path / "c.pt", **evaluate)
    assert history.measured["on cuda"].all()
    assert len(history.batch_losses) == len(on_cpu.batch_losses)
    longer = train(network, epochs=4, checkpoint=tmp_path / "c.pt", **evaluate)
    unbroken = train(make_network().cuda(), inputs=INPUTS.cuda(), epochs=4, **evaluate)
    np.testing.assert_array_equal(longer.steps, unbroken.steps)


# ---- interrupted and continued


@pytest.mark.parametrize("evaluations", [1, 2, 4, 5])  # 4: in the middle of the second epoch
def test_a_training_stopped_half_way_goes_on_as_if_it_had_not_been(tmp_path, evaluations):
    settings = {"epochs": 4, "evaluate_every": 3}
    unbroken_network, network, path = make_network(), make_network(), tmp_path / "run.pt"
    unbroken = train(unbroken_network, **settings)
    with pytest.raises(KeyboardInterrupt):
        evaluate = interrupt_after(evaluations, accuracy)
        train(evaluate=evaluate, checkpoint=path, **settings)
    stopped_at = read_checkpoint(path)["progress"]["step"]
    assert stopped_at == 3 * (evaluations - 1)
    torch.rand(3)  # whatever else happens in the meantime
    history = train(network, checkpoint=path, **settings)
    assert_same_history(history, unbroken)
    assert_same_weights(network, unbroken_network)


def test_a_training_stopped_again_and_again_goes_on_as_if_it_had_not_been(tmp_path):
    """Stopped in evaluations, which leaves the network in evaluation mode; and continued."""
    settings, histories = {"epochs": 3, "evaluate_every": 2}, []
    unbroken = train(**settings)
    network = make_network()
    for _ in range(30):
        evaluate = interrupt_after(1, accuracy)
        try:
            histories.append(
                train(network, evaluate=evaluate, checkpoint=tmp_path / "run.pt", **settings)
            )
        except KeyboardInterrupt:
            assert not network.training
    assert len(histories) > 1
    for history in histories:
        assert_same_history(history, unbroken)


def test_other_draws_from_the_same_generator_go_on_too(tmp_path):
    def drawing(generator):
        return {"draw": torch.rand(1, generator=generator)}

    def train_and_draw(generator, **settings):
        evaluate = interrupt_after(settings.pop("stop", 99), lambda _: drawing(generator))
        return train(epochs=2, evaluate_every=3, evaluate=evaluate, generator=generator, **settings)

    seeded = [torch.Generator().manual_seed(1) for _ in range(3)]
    unbroken = train_and_draw(seeded[0])
    with pytest.raises(KeyboardInterrupt):
        train_and_draw(seeded[1], stop=2, checkpoint=tmp_path / "run.pt")
    assert_same_history(train_and_draw(seeded[2], checkpoint=tmp_path / "run.pt"), unbroken)


def test_a_training_in_double_precision_goes_on(tmp_path):
    settings = {"inputs": INPUTS.double(), "evaluate": None}
    train(make_network().double(), max_steps=3, checkpoint=tmp_path / "run.pt", **settings)
    history = train(make_network().double(), epochs=1, checkpoint=tmp_path / "run.pt", **settings)
    unbroken = train(make_network().double(), epochs=1, **settings)
    np.testing.assert_array_equal(history.batch_losses, unbroken.batch_losses)
    assert history.batch_losses.dtype == np.float32


def test_a_training_with_numpys_numbers_goes_on(tmp_path):
    """As from np.logspace: a checkpoint with them would be refused when it is read."""

    def adam(rate):
        return lambda network: torch.optim.Adam(network.parameters(), lr=rate)

    for epochs in (1, 2):
        checkpoint = {"checkpoint": tmp_path / "run.pt"}
        history = train_with(adam(np.float64(0.01)), epochs=epochs, **checkpoint)
    assert_same_history(history, train_with(adam(0.01), epochs=2))


@pytest.mark.parametrize(
    "make",
    [
        lambda optimizer: torch.optim.lr_scheduler.MultiStepLR(optimizer, [5, 9]),
        lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 30),
        lambda optimizer: torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.9**step),
    ],
)
def test_other_optimisers_and_schedulers_go_on(tmp_path, make):
    def sgd(network):
        return torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)

    train_with(sgd, make, epochs=2, checkpoint=tmp_path / "run.pt")
    history = train_with(sgd, make, epochs=4, checkpoint=tmp_path / "run.pt")
    assert_same_history(history, train_with(sgd, make, epochs=4))


@pytest.mark.parametrize("updates", [5, 7, 10])
def test_a_training_stopped_during_an_update_repeats_from_the_last_checkpoint(tmp_path, updates):
    path = tmp_path / "run.pt"
    with pytest.raises(KeyboardInterrupt):
        train(loss=interrupt_after(updates, F.cross_entropy), epochs=3, checkpoint=path)
    made = []

    def loss(outputs, labels):
        made.append(len(labels))
        return F.cross_entropy(outputs, labels)

    assert_same_history(train(loss=loss, epochs=3, checkpoint=path), train(epochs=3))
    assert len(made) == 3 * PER_EPOCH - (updates // PER_EPOCH) * PER_EPOCH


def test_a_finished_training_is_prolonged(tmp_path):
    path = tmp_path / "run.pt"
    first = train(epochs=2, checkpoint=path)
    longer = train(epochs=4, checkpoint=path)
    assert_same_history(longer, train(epochs=4))
    assert longer.seconds[: len(first.seconds)].tolist() == first.seconds.tolist()
    assert all(earlier <= later for earlier, later in pairwise(longer.seconds))


def test_a_finished_training_is_not_repeated(tmp_path):
    path, network = tmp_path / "run.pt", make_network(seed=3)
    trained = make_network()
    history = train(trained, epochs=2, checkpoint=path)
    again = train(network, loss=interrupt_after(0, F.cross_entropy), epochs=2, checkpoint=path)
    assert_same_history(again, history)
    assert_same_weights(network, trained)


def test_a_checkpoint_beyond_the_limits_is_refused(tmp_path):
    train(epochs=2, checkpoint=tmp_path / "run.pt")
    with pytest.raises(ValueError, match=r"at most 7 updates.*found one of 14\. Raise the limits"):
        train(epochs=1, checkpoint=tmp_path / "run.pt")


def test_a_folder_for_the_checkpoint_is_made_and_holds_nothing_else(tmp_path):
    train(epochs=2, checkpoint=str(tmp_path / "new" / "run.pt"))
    assert os.listdir(tmp_path / "new") == ["run.pt"]


def test_a_failed_write_leaves_the_checkpoint_before_it(tmp_path, monkeypatch):
    path = tmp_path / "run.pt"
    train(epochs=1, checkpoint=path)
    before = path.read_bytes()

    def fail(temporary, content):
        with temporary.open("wb") as file:
            file.write(content[:6])
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OSError, match="no space left"):
        train(epochs=2, checkpoint=path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["run.pt"]


def test_a_checkpoint_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    events = []
    for name in ("fsync", "replace"):
        original = getattr(os, name)
        spy = lambda *arguments, n=name, o=original: (events.append(n), o(*arguments))  # noqa: E731
        monkeypatch.setattr(os, name, spy)
    write_checkpoint({"step": 1}, tmp_path / "run.pt")
    assert events == ["fsync", "replace"]
    assert read_checkpoint(tmp_path / "run.pt")["step"] == 1


# ---- checkpoints that do not fit


def without_statistics():
    network = make_network()
    network[1] = nn.BatchNorm1d(8, track_running_stats=False)
    return network


def other_scheduler():
    optimizer = torch.optim.Adam(make_network().parameters(), lr=0.01)
    return torch.optim.lr_scheduler.StepLR(optimizer, 5)


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"network": make_network(hidden=9)}, r"the network's 0\.weight \(9, 6\)"),
        ({"network": make_network().append(nn.Linear(2, 2))}, r"the network's 4\.weight"),
        ({"network": without_statistics()}, r"the network's 1\.running_mean absent"),
        ({"network": make_network().double()}, r"the network's 0\.weight \(8, 6\) torch.float64"),
        ({"generator": torch.Generator().manual_seed(2)}, "the generator seeded with 2"),
        ({"rate": 0.02}, "the optimiser"),
        ({"scheduler": None}, "the scheduler"),
        ({"scheduler": other_scheduler()}, "the scheduler"),
        ({"batch_size": 8}, "the data"),
        ({"inputs": INPUTS[:50], "labels": LABELS[:50]}, "the data"),
    ],
)
def test_a_checkpoint_of_another_training_is_refused_and_nothing_changed(tmp_path, settings, what):
    path = tmp_path / "run.pt"
    train(epochs=1, checkpoint=path)
    stored = path.read_bytes()
    network = settings.pop("network", make_network(seed=2))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(ValueError, match=f"run.pt: expected .* a training with {what}"):
        train(network, epochs=2, checkpoint=path, **settings)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])
    assert path.read_bytes() == stored


def test_a_checkpoint_of_other_groups_of_parameters_is_refused(tmp_path):
    def groups(*layers):
        return lambda network: torch.optim.SGD(
            [{"params": network[layer].parameters()} for layer in layers], lr=0.1
        )

    train_with(groups(0, 3), epochs=1, checkpoint=tmp_path / "run.pt")
    with pytest.raises(ValueError, match=r"the optimiser's groups of \[2, 2, 2\] tensors, found"):
        train_with(groups(0, 1, 3), epochs=1, checkpoint=tmp_path / "run.pt")


@pytest.mark.parametrize(
    "content", [b"", b"not a checkpoint", "truncated", "flipped", "code", "foreign"]
)
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, content):
    path = tmp_path / "run.pt"
    train(epochs=1, checkpoint=path)
    if content == "truncated":
        content = path.read_bytes()[:-100]
    if content == "flipped":
        found = path.read_bytes()
        middle = found.index(train_weights(path)) + 3
        content = found[:middle] + bytes([found[middle] ^ 1]) + found[middle + 1 :]
    if content in ("code", "foreign"):
        weights = Trap(tmp_path / "sprung") if content == "code" else torch.zeros(3)
        torch.save({"weights": weights}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"run\.pt: expected a checkpoint .*Delete it"):
        train(epochs=2, checkpoint=path)
    assert not (tmp_path / "sprung").exists()


def train_weights(path):
    """The first weights of a checkpoint, as they are in its file."""
    return read_checkpoint(path)["network"]["0.weight"].numpy().tobytes()


def test_a_folder_is_no_checkpoint_and_not_to_be_deleted(tmp_path):
    with pytest.raises(ValueError, match=r"expected a file, found a folder\. Name a file in it"):
        train(epochs=1, checkpoint=tmp_path)


def test_a_missing_checkpoint_is_not_a_damaged_one(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_checkpoint(tmp_path / "run.pt")


class Trap:
    """Unpickling it would create a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_a_checkpoint_is_read_as_it_was_written(tmp_path):
    state = {"weights": torch.arange(3.0), "step": 4, "names": ["a"], "nothing": None}
    write_checkpoint(state, tmp_path / "c.pt")
    found = read_checkpoint(tmp_path / "c.pt")
    assert torch.equal(found.pop("weights"), state.pop("weights"))
    assert found == state | {"format": checkpoints.FORMAT}
