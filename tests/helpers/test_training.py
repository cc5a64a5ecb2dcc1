"""The ensemble trainer against plain PyTorch, one network at a time."""

import io
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers import training
from helpers.training import (
    binary_accuracy,
    ensemble_outputs,
    initial_parameters,
    train_ensemble,
    truncated_normal_,
)

PROJECT = Path(__file__).resolve().parents[2]
ROOT_SEED = 5
INPUTS = torch.randn(24, 6, generator=torch.Generator().manual_seed(ROOT_SEED))
LABELS = (INPUTS[:, 0] + 0.5 * INPUTS[:, 1] > 0).float()
WIDTHS = INPUTS.sum(1)
CROSS_ENTROPY = F.binary_cross_entropy_with_logits
WIDE = partial(truncated_normal_, std=0.7)


def make_network():
    return nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 1), nn.Flatten(0))


class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.shared = nn.Linear(6, 5)
        self.logit = nn.Linear(5, 1)
        self.width = nn.Linear(5, 1)

    def forward(self, inputs):
        hidden = torch.relu(self.shared(inputs))
        return self.logit(hidden).flatten(), self.width(hidden).flatten()


def train(seeds, **settings):
    settings = {"losses": {"loss": CROSS_ENTROPY}, "initialize": WIDE} | settings
    return train_ensemble(make_network, seeds, INPUTS, LABELS, **settings)


@pytest.fixture(scope="module")
def solved_history():
    """Six members that are all solved, at different times."""
    return train(
        range(6),
        metrics={"accuracy": binary_accuracy},
        stop_when="accuracy",
        learning_rate=0.5,
        max_iterations=2000,
    )


def train_plainly(seed, iterations, **sgd):
    """The same training, written the ordinary way, in PyTorch alone."""
    network = make_network()
    WIDE(network, torch.Generator().manual_seed(seed))
    optimizer = torch.optim.SGD(network.parameters(), **sgd)
    losses, accuracies = [], []
    for iteration in range(iterations + 1):
        logits = network(INPUTS)
        loss = CROSS_ENTROPY(logits, LABELS)
        losses.append(loss.item())
        accuracies.append(((logits > 0).float() == LABELS).float().mean().item())
        if iteration < iterations:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return network, np.array(losses), np.array(accuracies)


@pytest.mark.parametrize(
    "sgd",
    [
        {"lr": 0.5},
        {"lr": 0.05, "momentum": 0.9},
        {"lr": 0.1, "momentum": 0.5, "weight_decay": 0.05},
    ],
)
def test_every_member_equals_a_plain_pytorch_loop(sgd):
    settings = {"learning_rate": sgd["lr"], **{k: v for k, v in sgd.items() if k != "lr"}}
    history = train([3, 8], metrics={"accuracy": binary_accuracy}, max_iterations=60, **settings)
    for member, seed in enumerate((3, 8)):
        network, losses, accuracies = train_plainly(seed, 60, **sgd)
        np.testing.assert_allclose(history.curve("loss")[member], losses, rtol=1e-4)
        np.testing.assert_allclose(history.curve("accuracy")[member], accuracies, atol=1e-6)
        for name, parameter in network.named_parameters():
            torch.testing.assert_close(
                history.final_parameters[name][member], parameter.detach(), rtol=1e-3, atol=1e-5
            )


def test_a_member_of_many_equals_the_same_seed_alone():
    settings = {
        "metrics": {"accuracy": binary_accuracy},
        "stop_when": "accuracy",
        "learning_rate": 0.5,
        "max_iterations": 400,
    }
    together = train(range(12), **settings)
    for seed in (0, 7, 11):
        alone = train([seed], **settings)
        assert alone.solved.all() and alone.solved_at[0] == together.solved_at[seed]
        np.testing.assert_allclose(
            together.curve("loss")[seed, : alone.iterations + 1],
            alone.curve("loss")[0],
            rtol=1e-4,
        )
        for name, parameter in alone.parameters.items():
            torch.testing.assert_close(
                together.parameters[name][seed], parameter[0], rtol=1e-3, atol=1e-4
            )


def test_training_ends_when_all_members_are_solved(solved_history):
    history = solved_history
    accuracy = history.curve("accuracy")
    assert history.solved.all()
    assert history.iterations == history.solved_at.max() < 2000
    assert len(set(history.solved_at)) > 1, "the test needs members that end at different times"
    for member, at in enumerate(history.solved_at.astype(int)):
        assert accuracy[member, at] == 1 and (accuracy[member, :at] < 1).all()


def test_the_solution_kept_is_the_one_at_the_first_solved_iteration(solved_history):
    history = solved_history
    logits = ensemble_outputs(make_network, history.parameters, INPUTS)
    for member, at in enumerate(history.solved_at.astype(int)):
        assert binary_accuracy(logits[member], LABELS) == 1
        loss = CROSS_ENTROPY(logits[member], LABELS).item()
        assert loss == pytest.approx(history.curve("loss")[member, at], rel=1e-5)


def test_the_limit_ends_training_and_unsolved_members_say_so():
    history = train(
        range(3), metrics={"accuracy": binary_accuracy}, stop_when="accuracy", max_iterations=2
    )
    assert history.iterations == 2 and not history.solved.any()
    assert np.isinf(history.solved_at).all() and np.isinf(history.quantiles()).all()
    for name, parameter in history.parameters.items():
        torch.testing.assert_close(parameter, history.final_parameters[name])


def test_a_curve_is_kept_or_cut_after_the_solution(solved_history):
    history = solved_history
    kept, cut = history.curve("loss"), history.curve("loss", after_solved="cut")
    for member, at in enumerate(history.solved_at.astype(int)):
        np.testing.assert_array_equal(cut[member, : at + 1], kept[member, : at + 1])
        assert np.isnan(cut[member, at + 1 :]).all()
    assert np.isfinite(kept).all()


def test_quantiles_count_unsolved_members_as_last():
    history = train(range(4), max_iterations=0)
    solved_at = np.array([30.0, np.inf, 10.0, 20.0])
    some = training.History(**{**vars(history), "solved_at": solved_at})
    np.testing.assert_array_equal(some.quantiles((0.0, 0.5, 0.75, 1.0)), [10, 20, 30, np.inf])


def test_a_diverging_member_is_reported_and_disturbs_nobody():
    def wild_for_seed_one(network, generator):
        truncated_normal_(network, generator, std=0.7)
        if generator.initial_seed() == 1:
            nn.init.constant_(network[2].weight, 1e38)

    def squared(outputs, targets):
        return ((outputs - targets) ** 2).mean()

    settings = {"losses": {"loss": squared}, "learning_rate": 0.05, "max_iterations": 50}
    history = train([0, 1, 2], initialize=wild_for_seed_one, **settings)
    assert np.isfinite(history.diverged_at).tolist() == [False, True, False]
    at = int(history.diverged_at[1])
    assert np.isnan(history.curve("loss")[1, at:]).all()
    calm = train([0, 2], initialize=wild_for_seed_one, **settings)
    np.testing.assert_allclose(history.curve("loss")[[0, 2]], calm.curve("loss"), rtol=1e-4)
    for name, parameter in calm.final_parameters.items():
        torch.testing.assert_close(
            history.final_parameters[name][[0, 2]], parameter, rtol=1e-3, atol=1e-5
        )


def test_a_diverged_member_is_not_waited_for_and_never_solved():
    def explode(network, generator):
        truncated_normal_(network, generator)
        nn.init.constant_(network[2].bias, float("nan"))

    history = train(
        [0, 1],
        initialize=explode,
        metrics={"accuracy": lambda outputs, labels: torch.ones(())},
        stop_when="accuracy",
        max_iterations=100,
    )
    assert history.iterations == 0
    assert not history.solved.any() and (history.diverged_at == 0).all()


def test_a_loss_weight_is_a_learning_rate_of_its_own():
    """Two optimisers with rates 0.1 and 0.001 make the same step as weights 1 and 0.01 at 0.1."""

    def squared(outputs, targets):
        return ((outputs[1] - targets["width"]) ** 2).mean()

    def entropy(outputs, targets):
        return CROSS_ENTROPY(outputs[0], targets["label"])

    targets = {"label": LABELS, "width": WIDTHS}
    history = train_ensemble(
        TwoHeads,
        [4],
        INPUTS,
        targets,
        {"entropy": entropy, "squared": squared},
        loss_weights={"squared": 0.01},
        learning_rate=0.1,
        max_iterations=20,
    )
    network = TwoHeads()
    truncated_normal_(network, torch.Generator().manual_seed(4))
    for _ in range(20):
        outputs = network(INPUTS)
        slow = torch.autograd.grad(
            squared(outputs, targets), network.parameters(), retain_graph=True, allow_unused=True
        )
        fast = torch.autograd.grad(
            entropy(outputs, targets), network.parameters(), allow_unused=True
        )
        with torch.no_grad():
            for parameter, s, f in zip(network.parameters(), slow, fast, strict=True):
                parameter -= 0.001 * (0 if s is None else s) + 0.1 * (0 if f is None else f)
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(
            history.final_parameters[name][0], parameter.detach(), rtol=1e-4, atol=1e-6
        )
    with torch.no_grad():
        assert history.curve("squared")[0, -1] == pytest.approx(
            squared(network(INPUTS), targets).item(), rel=1e-4
        )


def test_gradient_norm_is_that_of_the_weighted_loss():
    history = train([2], max_iterations=3, record_gradient_norm=True, loss_weights={"loss": 3.0})
    network = make_network()
    WIDE(network, torch.Generator().manual_seed(2))
    (3 * CROSS_ENTROPY(network(INPUTS), LABELS)).backward()
    norm = torch.cat([p.grad.flatten() for p in network.parameters()]).norm().item()
    assert history.curve("gradient_norm")[0, 0] == pytest.approx(norm, rel=1e-5)


def test_snapshots_are_copies_of_the_moments_asked_for():
    history = train([0, 1], max_iterations=10, snapshots_at=[0, 4, 99])
    assert sorted(history.snapshots) == [0, 4]
    for name, parameter in initial_parameters(make_network, [0, 1], WIDE).items():
        torch.testing.assert_close(history.snapshots[0][name], parameter)
    outputs = ensemble_outputs(make_network, history.snapshots[4], INPUTS)
    for member in range(2):
        loss = CROSS_ENTROPY(outputs[member], LABELS).item()
        assert loss == pytest.approx(history.curve("loss")[member, 4], rel=1e-5)


def test_dtype_follows_the_inputs():
    history = train_ensemble(
        make_network,
        [0],
        INPUTS.double(),
        LABELS.double(),
        {"loss": CROSS_ENTROPY},
        max_iterations=1,
    )
    assert {p.dtype for p in history.final_parameters.values()} == {torch.float64}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_device_follows_the_inputs():
    settings = {"losses": {"loss": CROSS_ENTROPY}, "max_iterations": 20}
    on_gpu = train_ensemble(make_network, [0, 1], INPUTS.cuda(), LABELS.cuda(), **settings)
    on_cpu = train_ensemble(make_network, [0, 1], INPUTS, LABELS, **settings)
    assert on_gpu.final_parameters["0.weight"].is_cuda
    np.testing.assert_allclose(on_gpu.curve("loss"), on_cpu.curve("loss"), rtol=1e-3)


def test_nothing_draws_from_the_global_generators():
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    train([0, 1], max_iterations=2)
    assert torch.equal(torch.get_rng_state(), torch_state)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002


def test_truncated_normal_is_cut_and_has_the_right_spread():
    network = nn.Linear(300, 200)
    truncated_normal_(network, torch.Generator().manual_seed(0), std=0.1, bias=0.1)
    weights = network.weight.detach().numpy().ravel()
    assert np.abs(weights).max() <= 0.2
    assert (np.abs(weights) > 0.19).any()
    assert abs(weights.mean()) < 0.002
    # The standard deviation of N(0, 1) restricted to [-2, 2] is 0.8796.
    assert weights.std() == pytest.approx(0.08796, rel=0.02)
    assert (network.bias == 0.1).all()


def test_initialisation_depends_on_the_seed_alone():
    forward = initial_parameters(make_network, [0, 1, 2])
    backward = initial_parameters(make_network, [2, 1, 0])
    for name in forward:
        torch.testing.assert_close(forward[name], backward[name].flip(0), rtol=0, atol=0)
    assert not torch.equal(forward["0.weight"][0], forward["0.weight"][1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"losses": {}}, "losses is empty"),
        ({"stop_when": "accuracy"}, r"stop_when is 'accuracy', but the metrics are \[\]"),
        ({"loss_weights": {"l2": 2.0}}, r"loss_weights names \['l2'\]"),
        ({"metrics": {"loss": CROSS_ENTROPY}}, r"repeated: \['loss'\]"),
        ({"max_iterations": -1}, "expected 0 or more"),
    ],
)
def test_bad_settings_are_explained(settings, message):
    with pytest.raises(ValueError, match=message):
        train([0], **settings)


def test_no_seeds_are_refused():
    with pytest.raises(ValueError, match="seeds is empty"):
        train([])


def test_networks_with_buffers_are_refused():
    def with_batch_norm():
        return nn.Sequential(nn.Linear(6, 1), nn.BatchNorm1d(1), nn.Flatten(0))

    with pytest.raises(ValueError, match="has buffers"):
        train_ensemble(with_batch_norm, [0], INPUTS, LABELS, {"loss": CROSS_ENTROPY})


def test_unknown_curves_and_options_are_explained():
    history = train([0], max_iterations=1)
    with pytest.raises(KeyError, match=r"no curve 'accuracy'; this history has \['loss'\]"):
        history.curve("accuracy")
    with pytest.raises(ValueError, match="after_solved is 'keep' or 'cut'"):
        history.curve("loss", after_solved="drop")


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("stream", "session", "visible"),
    [(Terminal, None, True), (io.StringIO, "lesson.ipynb", True), (io.StringIO, None, False)],
)
def test_progress_is_shown_only_where_a_person_watches(monkeypatch, stream, session, visible):
    """A terminal, or a notebook that a front end has opened; not a notebook run by a program."""
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    if session:
        monkeypatch.setenv("JPY_SESSION_NAME", session)
    monkeypatch.setattr(sys, "stderr", stream())
    train([0], max_iterations=30)
    assert ("30" in sys.stderr.getvalue()) == visible


def test_importing_the_trainer_prints_nothing():
    result = subprocess.run(
        [sys.executable, "-W", "error::FutureWarning", "-c", "import helpers.training"],
        cwd=PROJECT,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == result.stderr == ""
