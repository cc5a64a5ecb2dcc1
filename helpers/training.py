"""Train one network from many seeds at once, each with its own history.

`train` runs the usual loop (outputs, loss, gradient, step) over a stack of networks, see
`helpers.stacking`. A member that is solved or has diverged leaves the stack, so that it costs no
more. Members never meet: what becomes of one does not depend on which others are trained beside it.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from helpers.cores import core_count, on_all_cores
from helpers.history import History, Parameters
from helpers.objectives import Function, Objective
from helpers.progress import progress_bar
from helpers.stacking import Stack, stack

Initializer = Callable[[nn.Module, torch.Generator], None]

EVALUATED_AT_ONCE = 1000  # samples


def truncated_normal_(
    network: nn.Module, generator: torch.Generator, std: float = 0.1, bias: float = 0.1
) -> None:
    """Initialise `network` in place: weights from a truncated normal, biases constant.

    Weights have the density of N(0, std²) restricted to [-2 std, 2 std]. Parameters whose name ends
    in "bias" are set to `bias`.
    """
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            nn.init.constant_(parameter, bias)
        else:
            cut = {"a": -2 * std, "b": 2 * std}
            nn.init.trunc_normal_(parameter, mean=0.0, std=std, generator=generator, **cut)


def initial_parameters(
    make_network: Callable[[], nn.Module],
    seeds: Iterable[int],
    initialize: Initializer | Sequence[Initializer] | None = truncated_normal_,
) -> Parameters:
    """Parameters and running statistics of one fresh network per seed, shape (members, ...).

    `initialize` is as in `train`. The global generator is left as it was.
    """
    seeds = [int(seed) for seed in seeds]
    if not seeds:
        raise ValueError("seeds is empty; give one integer per network")
    methods = initialize if isinstance(initialize, Sequence) else [initialize] * len(seeds)
    members = []
    with torch.random.fork_rng(devices=[]):
        network = make_network()
        for seed, method in zip(seeds, methods, strict=True):
            if method is None:
                torch.manual_seed(seed)
                network = make_network()
            else:
                method(network, torch.Generator().manual_seed(seed))
            state = network.state_dict().items()
            members.append({name: v.clone() for name, v in state if v.is_floating_point()})
    return {name: torch.stack([member[name] for member in members]) for name in members[0]}


def network_of(
    make_network: Callable[[], nn.Module], parameters: Parameters, member: int
) -> nn.Module:
    """One member as a network of its own, in evaluation mode."""
    network = _build(make_network, next(iter(parameters.values())))
    state = {name: values[member] for name, values in parameters.items()}
    network.load_state_dict(state, strict=False)  # batch normalisation's counter is not kept
    return network.eval()


def outputs_of(
    make_network: Callable[[], nn.Module], parameters: Parameters, inputs: Tensor
) -> Any:
    """Outputs of all members for the same inputs, in evaluation mode, shape (members, n, ...).

    A single output has no axis of its own; a network with several outputs gives a tuple.
    """
    networks = stack(_build(make_network, inputs), parameters, inputs[:2])
    return _outputs(networks, inputs)


@torch.no_grad()
def _outputs(networks: Stack, inputs: Tensor) -> Any:
    parts = [networks.outputs(part) for part in inputs.split(EVALUATED_AT_ONCE)]
    if isinstance(parts[0], tuple):
        return tuple(torch.cat(outputs, 1) for outputs in zip(*parts, strict=True))
    return torch.cat(parts, 1)


def _build(make_network: Callable[[], nn.Module], like: Tensor) -> nn.Module:
    """A network of the device and dtype of `like`; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        return make_network().to(like.device, like.dtype)


def train(
    make_network: Callable[[], nn.Module],
    seeds: Sequence[int],
    inputs: Tensor,
    targets: Tensor | tuple[Tensor, ...],
    losses: Mapping[str, Function],
    *,
    learning_rate: float | Sequence[float] | np.ndarray = 0.1,
    optimizer: Callable[..., torch.optim.Optimizer] | None = None,
    schedule: Callable[[float], float] | None = None,
    iterations: int | None = None,
    epochs: int | None = None,
    max_seconds: float | None = None,
    batch_size: int | None = None,
    order_seeds: Sequence[int] | int | None = None,
    metrics: Mapping[str, Function] | None = None,
    stop_when: str | None = None,
    loss_weights: Mapping[str, float] | None = None,
    initialize: Initializer | Sequence[Initializer] | None = truncated_normal_,
    own_data: bool = False,
    snapshots_at: Iterable[int] = (),
    evaluate: Mapping[str, tuple[Tensor, Any]] | None = None,
    evaluate_every: int | None = None,
    parallel: bool = False,
) -> History:
    """Train one network per seed, all at once, on full batches or mini-batches.

    Parameters
    ----------
    make_network : function without arguments that returns an `nn.Module`
        `helpers.stacking` says of which layers.
    seeds : ints
        One member per seed, which decides its initial parameters and the order of its mini-batches.
        For a sweep, repeat the seeds and give each member its own learning rate.
    inputs, targets : tensors, shape (n, ...); targets may be a tuple of tensors
        The same for all members; with `own_data` each member's own, shape (members, n, ...). The
        inputs' device and dtype are used throughout.
    losses : name -> function, see `helpers.objectives`
        Their sum, weighted by `loss_weights` (1 where a name is absent), is descended.
    learning_rate : float, or one per member, shape (members,)
    optimizer : function(parameters, lr) that returns a `torch.optim.Optimizer`, optional
        For example `partial(torch.optim.SGD, momentum=0.9)`, or Adam: one whose steps are
        proportional to its rate. Default: plain gradient descent.
    schedule : function(share of the updates that are made, 0 to 1) -> factor of the rate, optional
    iterations, epochs, max_seconds : numbers
        Training ends at the first limit: updates, passes through the data, seconds of training.
    batch_size : int, optional
        Samples per update; the last batch of an epoch has what is left. Default: all samples.
    order_seeds : ints, or one int, optional
        Seeds of the batches' order in place of `seeds`. With one int all members share each batch.
    metrics : name -> function, optional
        Recorded only.
    stop_when : name of a metric, optional
        A member's training ends as soon as it reaches 1 in it.
    initialize : function(network, generator), or one per member, or None
        With None, PyTorch's own initialisation: the seed is that of its global generator.
    snapshots_at : ints
        Iterations at which to keep a copy of all parameters; 0 is before the first update.
    evaluate : name -> (inputs, targets), optional
        Other data, on which losses and metrics are measured in evaluation mode: before the first
        update, every `evaluate_every` updates (default: every epoch) and after the last.
    parallel : bool
        Deal the members out to the processor's cores. It pays for large networks only.

    Raises
    ------
    ValueError
        For a layer that can't be stacked, unknown or repeated names, lengths that differ, a missing
        or negative limit.
    """
    seeds = np.array([int(seed) for seed in seeds])
    start = initial_parameters(make_network, seeds, initialize)
    task = _Task(
        network=_build(make_network, inputs),
        parameters={name: values.to(inputs.device, inputs.dtype) for name, values in start.items()},
        inputs=inputs,
        targets=targets if isinstance(targets, tuple) else (targets,),
        own_data=own_data,
        batch_size=batch_size,
        order_seeds=seeds if order_seeds is None else order_seeds,
        objective=Objective(losses, metrics or {}, loss_weights or {}),
        rates=np.broadcast_to(
            np.asarray(learning_rate, dtype=float), np.shape(learning_rate) or len(seeds)
        ),
        optimizer=optimizer,
        schedule=schedule,
        limits={"iterations": iterations, "epochs": epochs, "max_seconds": max_seconds},
        stop_when=stop_when,
        snapshots_at=frozenset(snapshots_at),
        evaluate=evaluate or {},
        evaluate_every=evaluate_every,
        solved_at=np.full(len(seeds), np.inf),
        diverged_at=np.full(len(seeds), np.inf),
    )
    task.check()
    cores = min(core_count(), len(seeds)) if parallel else 1
    groups = [_Group(task, members) for members in np.array_split(np.arange(len(seeds)), cores)]
    on_all_cores(_Group.train, groups)
    return _history(seeds, task, groups)


@dataclass(frozen=True)
class _Task:
    """The arguments of `train`, and where each member's result is put when its training ends."""

    network: nn.Module
    parameters: Parameters
    inputs: Tensor
    targets: tuple[Tensor, ...]
    own_data: bool
    batch_size: int | None
    order_seeds: Sequence[int] | int
    objective: Objective
    rates: np.ndarray
    optimizer: Callable[..., torch.optim.Optimizer] | None
    schedule: Callable[[float], float] | None
    limits: Mapping[str, float | None]
    stop_when: str | None
    snapshots_at: frozenset[int]
    evaluate: Mapping[str, tuple[Tensor, Any]]
    evaluate_every: int | None
    solved_at: np.ndarray
    diverged_at: np.ndarray

    def check(self) -> None:
        """Raise ValueError, with what was expected, for settings that don't fit together."""
        names, losses = self.objective.names, sorted(self.objective.losses)
        if not losses:
            raise ValueError("losses is empty; give at least one {name: function}")
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(
                f"each recorded quantity needs a name of its own; repeated: {repeated}"
            )
        if unknown := sorted(set(self.objective.weights) - set(losses)):
            raise ValueError(f"loss_weights names {unknown}, but the losses are {losses}")
        if self.stop_when is not None and self.stop_when not in self.objective.metrics:
            known = sorted(self.objective.metrics)
            raise ValueError(f"stop_when is {self.stop_when!r}, but the metrics are {known}")
        if all(limit is None for limit in self.limits.values()):
            raise ValueError(f"nothing ends this training; give one of {', '.join(self.limits)}")
        sizes = self.limits | {"batch_size": self.batch_size, "evaluate_every": self.evaluate_every}
        for name, size in sizes.items():
            if size is not None and size < (0 if name in self.limits else 1):
                raise ValueError(f"{name} is {size}; expected a positive number")
        self._check_lengths()

    def _check_lengths(self) -> None:
        members = len(self.solved_at)
        axes = 2 if self.own_data else 1  # members and samples, or samples
        shapes = [tuple(tensor.shape) for tensor in (self.inputs, *self.targets)]
        alike = {shape[:axes] for shape in shapes}
        if len(alike) > 1 or (self.own_data and shapes[0][0] != members):
            expected = f"({members} members, n, ...)" if self.own_data else "(n, ...)"
            raise ValueError(f"inputs and targets have shapes {shapes}; expected {expected} of all")
        for name, value in (
            ("learning_rate", self.rates),
            ("order_seeds", self.order_seeds),
        ):
            if np.ndim(value) and len(value) != members:
                raise ValueError(f"{name} has {len(value)} entries; expected one, or {members}")


class _Group:
    """Members that one core trains together, and what is recorded of them.

    `alive` are the places, among all members, of those that are still trained: the stack's.
    """

    def __init__(self, task: _Task, members: np.ndarray):
        self.task, self.members = task, torch.as_tensor(members, device=task.inputs.device)
        self.alive = self.members
        self.batches = _Batches(task, members)
        start = {name: values[self.members] for name, values in task.parameters.items()}
        self.networks = stack(task.network, start, *self.batches.sample())
        self._start_optimizer()
        self.segments: list[tuple[int, Tensor, list[Tensor]]] = [(0, self.alive, [])]
        self.snapshots: dict[int, Parameters] = {}
        self.evaluated: list[tuple[int, float, Tensor, dict[str, Tensor]]] = []

    def train(self) -> None:
        """The loop."""
        task, updates = self.task, self.updates()
        every = task.evaluate_every or self.batches.per_epoch
        with torch.no_grad(), progress_bar(None if math.isinf(updates) else updates) as progress:
            self.begin, self.seconds = time.perf_counter(), 0.0
            for iteration in itertools.count():
                last = iteration == updates or self._time_is_up()
                if iteration in task.snapshots_at:
                    self.snapshots[iteration] = self.store()
                if task.evaluate and (last or iteration % every == 0):
                    self._evaluate(iteration)
                if last and task.batch_size:
                    break
                inputs, targets, own = self.batches.get(iteration, self.alive)
                if last:  # of full batches: measured, in evaluation mode
                    outputs = self.networks.outputs(inputs, own)
                    values = task.objective.values(outputs, targets)
                else:
                    values = self.networks.differentiate(task.objective, inputs, targets, own)
                self._record(iteration, values)
                if last or not len(self.alive):
                    break
                self._step(iteration / updates)
                progress.update()
            self._time_is_up()
        self.store()

    def updates(self) -> float:
        """The largest number of updates, infinite if only time ends the training."""
        iterations, epochs = self.task.limits["iterations"], self.task.limits["epochs"]
        by_epochs = math.inf if epochs is None else epochs * self.batches.per_epoch
        return min(by_epochs, math.inf if iterations is None else iterations)

    def _time_is_up(self) -> bool:
        self.seconds = time.perf_counter() - self.begin
        limit = self.task.limits["max_seconds"]
        return limit is not None and self.seconds >= limit

    def store(self) -> Parameters:
        """Put the present parameters to their place among all; a copy of all of this group's."""
        if len(self.alive):
            for name, values in self.networks.state().items():
                self.task.parameters[name][self.alive] = values
        return {name: values[self.members] for name, values in self.task.parameters.items()}

    def _record(self, iteration: int, values: list[Tensor]) -> None:
        """Keep one iteration's values, and let go of members that are solved or have diverged."""
        task, row = self.task, torch.stack(values)  # (names, members)
        self.segments[-1][2].append(row)
        losses = row[: len(task.objective.losses)]
        solved = torch.zeros(1, dtype=torch.bool)
        if task.stop_when:
            solved = row[task.objective.names.index(task.stop_when)] == 1
        if math.isfinite(losses.sum()) and not solved.any():
            return
        diverged = ~torch.isfinite(losses).all(0)
        solved = solved & ~diverged
        self.store()
        task.solved_at[self.alive[solved].cpu()] = iteration
        task.diverged_at[self.alive[diverged].cpu()] = iteration
        self._keep(torch.nonzero(~(solved | diverged))[:, 0])
        self.segments.append((iteration + 1, self.alive, []))

    def _keep(self, members: Tensor) -> None:
        """Go on with some members of the stack, with their gradients and memories as they are."""
        self.alive = self.alive[members]
        if not len(members):
            return
        before = list(self.optimizer.state.values()) if self.optimizer else []
        self.networks.keep(members)
        self._start_optimizer()
        for leaf, state in zip(self.networks.leaves, before, strict=False):
            self.optimizer.state[leaf] = {
                name: value[members] if value.dim() else value for name, value in state.items()
            }

    def _start_optimizer(self) -> None:
        """An optimiser at the highest rate; `shares` of it are each member's, if they differ."""
        leaves, rates = self.networks.leaves, self.task.rates[self.alive.cpu().numpy()]
        self.rate = float(rates.max())
        self.shares = None
        if rates.min() < self.rate:
            shares = torch.as_tensor(rates / self.rate).to(leaves[0])
            self.shares = [shares.view(-1, *[1] * (leaf.dim() - 1)) for leaf in leaves]
        self.optimizer = self.task.optimizer and self.task.optimizer(leaves, lr=self.rate)

    def _step(self, done: float) -> None:
        """Change the parameters by one update."""
        rate = self.rate if self.task.schedule is None else self.rate * self.task.schedule(done)
        if self.optimizer is None:
            self._descend(rate)
            return
        self.optimizer.param_groups[0]["lr"] = rate
        if self.shares is None:
            self.optimizer.step()
            return
        starts = [leaf.detach().clone() for leaf in self.networks.leaves]
        self.optimizer.step()
        for leaf, start, share in zip(self.networks.leaves, starts, self.shares, strict=True):
            torch.lerp(start, leaf, share, out=leaf)

    def _descend(self, rate: float) -> None:
        """Plain gradient descent; torch.optim.SGD would take a fifth of a small network's time."""
        if self.shares is None:
            for leaf in self.networks.leaves:
                leaf.sub_(leaf.grad, alpha=rate)
            return
        for leaf, share in zip(self.networks.leaves, self.shares, strict=True):
            leaf.addcmul_(leaf.grad, share, value=-rate)

    def _evaluate(self, iteration: int) -> None:
        """Losses and metrics on the other data; the clock stands still meanwhile."""
        begin, found = time.perf_counter(), {}
        for name, (inputs, targets) in self.task.evaluate.items():
            targets = targets if isinstance(targets, tuple) else (targets,)
            shared = [target.expand(len(self.alive), *target.shape) for target in targets]
            values = self.task.objective.values(_outputs(self.networks, inputs), _alone(shared))
            found[name] = torch.stack(values)  # (names, members)
        self.evaluated.append((iteration, self.seconds, self.alive, found))
        self.begin += time.perf_counter() - begin


def _alone(targets: Sequence[Tensor]) -> Any:
    """The targets as losses and metrics get them: a tuple only of several."""
    return targets[0] if len(targets) == 1 else tuple(targets)


class _Batches:
    """The samples of each update: all of them, or mini-batches in each member's own order."""

    def __init__(self, task: _Task, members: np.ndarray):
        self.task = task
        self.samples = task.inputs.shape[1 if task.own_data else 0]
        self.size = task.batch_size or self.samples
        self.per_epoch = math.ceil(self.samples / self.size)
        self.one_order = isinstance(task.order_seeds, Integral)
        seeds = [task.order_seeds] if self.one_order else [task.order_seeds[m] for m in members]
        self.generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
        self.first, self.members = int(members[0]), len(members)
        self.alive = self.all = None

    def sample(self) -> tuple[Tensor, bool]:
        """Two inputs to try a network with, and whether each member has its own."""
        if self.task.own_data:
            return self.task.inputs[self.first : self.first + self.members, :2], True
        return self.task.inputs[:2], False

    def get(self, iteration: int, alive: Tensor) -> tuple[Tensor, Any, bool]:
        """Inputs; targets, shape (members, n, ...); whether the inputs are each member's own."""
        if not self.task.batch_size:
            if self.alive is not alive:  # else as before
                self.alive, self.all = alive, self._take(alive, None)
            return self.all
        step = iteration % self.per_epoch
        if step == 0:
            orders = [torch.randperm(self.samples, generator=g) for g in self.generators]
            self.orders = torch.stack(orders).to(alive.device)  # (members of the group, n)
        index = self.orders[:, step * self.size : (step + 1) * self.size]
        return self._take(alive, index[0] if self.one_order else index[alive - self.first])

    def _take(self, alive: Tensor, index: Tensor | None) -> tuple[Tensor, Any, bool]:
        """The samples `index`, shape (n,) or (members, n), or all samples."""
        inputs, targets = self.task.inputs, self.task.targets
        if self.task.own_data:
            at = alive if index is None else (alive[:, None], index)
            return inputs[at], _alone([target[at] for target in targets]), True
        if index is not None and index.dim() == 2:
            # One row per sample, as stacked layers need it, seen as one row per member.
            rows = inputs.index_select(0, index.T.flatten()).unflatten(0, index.T.shape)
            return rows.transpose(0, 1), _alone([target[index] for target in targets]), True
        if index is not None:
            inputs, targets = inputs[index], [target[index] for target in targets]
        shared = [target.expand(len(alive), *target.shape) for target in targets]
        return inputs, _alone(shared), False


def _history(seeds: np.ndarray, task: _Task, groups: Sequence[_Group]) -> History:
    names = task.objective.names
    points = max(first + len(rows) for group in groups for first, _, rows in group.segments)
    curves = np.full((len(names), len(seeds), points), np.nan, dtype=np.float32)
    for group in groups:
        for first, alive, rows in group.segments:
            if rows:
                values = torch.stack(rows).permute(1, 2, 0).cpu().numpy()
                curves[:, alive.cpu().numpy(), first : first + len(rows)] = values
    for member in np.flatnonzero(np.isfinite(task.diverged_at)):
        curves[:, member, int(task.diverged_at[member]) :] = np.nan
    evaluated_at, evaluated_after = (
        np.full((len(seeds), max(len(group.evaluated) for group in groups)), np.nan)
        for _ in range(2)
    )
    evaluations = {
        name: {key: np.full(evaluated_at.shape, np.nan, np.float32) for key in names}
        for name in task.evaluate
    }
    for group in groups:
        for column, (iteration, seconds, alive, found) in enumerate(group.evaluated):
            members = alive.cpu().numpy()
            evaluated_at[members, column], evaluated_after[members, column] = iteration, seconds
            for name, values in found.items():
                for key, row in zip(names, values.cpu().numpy(), strict=True):
                    evaluations[name][key][members, column] = row
    return History(
        seeds=seeds,
        curves=dict(zip(names, curves, strict=True)),
        solved_at=task.solved_at,
        diverged_at=task.diverged_at,
        parameters=task.parameters,
        snapshots=_snapshots(groups),
        evaluations=evaluations,
        evaluated_at=evaluated_at,
        evaluated_after=evaluated_after,
        seconds=max(group.seconds for group in groups),
    )


def _snapshots(groups: Sequence[_Group]) -> dict[int, Parameters]:
    """Those of all groups; of a group that ended earlier, what it ended with."""
    moments = sorted(set().union(*(group.snapshots for group in groups)))
    ends = [group.store() for group in groups]
    joined = {}
    for moment in moments:
        parts = [g.snapshots.get(moment, end) for g, end in zip(groups, ends, strict=True)]
        joined[moment] = {name: torch.cat([part[name] for part in parts]) for name in ends[0]}
    return joined
