"""Train one network from many seeds at once, each with its own history.

`train` runs the usual loop (outputs, loss, gradient, step) over a stack of networks, see
`helpers.stacking`. A member that is solved or has diverged leaves the stack, and costs no more.
What becomes of one does not depend on which others are trained beside it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from threading import Lock
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from joblib import Parallel, cpu_count, delayed  # comes with scikit-learn
from torch import Tensor, nn

from helpers.history import History, Parameters
from helpers.objectives import Function, alone, as_tuple, slopes_of, values_of
from helpers.progress import progress_bar
from helpers.stacking import stack

Maker = Callable[[], nn.Module]
Initializer = Callable[[nn.Module, torch.Generator], None]

GLOBAL_GENERATOR = Lock()  # PyTorch has one for all threads


def truncated_normal_(
    network: nn.Module, generator: torch.Generator, std: float = 0.1, bias: float = 0.1
) -> None:
    """Initialise `network` in place: biases to `bias`, weights from N(0, std²) within ±2 std."""
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            nn.init.constant_(parameter, bias)
        else:
            nn.init.trunc_normal_(parameter, 0.0, std, -2 * std, 2 * std, generator)


def initial_parameters(
    make_network: Maker,
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
    for seed, method in zip(seeds, methods, strict=True):
        network = _build(make_network, seed)
        if method is not None:
            method(network, torch.Generator().manual_seed(seed))
        state = network.state_dict().items()
        members.append({name: values for name, values in state if values.is_floating_point()})
    return {name: torch.stack([member[name] for member in members]) for name in members[0]}


def _build(make_network: Maker, seed: int = 0) -> nn.Module:
    """A network as PyTorch draws it with a seed; the global generator is left as it was."""
    with GLOBAL_GENERATOR, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return make_network()


def network_of(make_network: Maker, parameters: Parameters, member: int) -> nn.Module:
    """One member as a network of its own, in evaluation mode."""
    state = {name: values[member] for name, values in parameters.items()}
    network = _build(make_network).to(next(iter(state.values())))
    network.load_state_dict(state, strict=False)  # batch normalisation's counter is not kept
    return network.eval()


def outputs_of(make_network: Maker, parameters: Parameters, inputs: Tensor) -> Any:
    """Outputs of all members for the same inputs, in evaluation mode, shape (members, n, ...).

    A single output has no axis of its own; a network with several outputs gives a tuple.
    """
    networks = stack(_build(make_network).to(inputs), parameters, inputs[:2])
    parts = [networks.outputs(part) for part in inputs.split(1000)]
    return alone(tuple(torch.cat(outputs, 1) for outputs in zip(*parts, strict=True)))


def train(
    make_network: Maker,
    seeds: Sequence[int],
    inputs: Tensor,
    targets: Tensor | tuple[Tensor, ...],
    losses: Mapping[str, Function],
    *,
    iterations: int,
    learning_rate: float | Sequence[float] | np.ndarray = 0.1,
    optimizer: Callable[..., torch.optim.Optimizer] | None = None,
    schedule: Callable[[float], float] | None = None,
    batch_size: int | None = None,
    metrics: Mapping[str, Function] | None = None,
    stop_when: str | None = None,
    loss_weights: Mapping[str, float] | None = None,
    initialize: Initializer | Sequence[Initializer] | None = truncated_normal_,
    snapshots_at: Iterable[int] = (),
    parallel: bool = False,
) -> History:
    """Train one network per seed, all at once, on full batches or mini-batches.

    ValueError for a layer that can't be stacked, and for settings that don't fit together.

    Parameters
    ----------
    make_network : function that returns an `nn.Module` of layers that `helpers.stacking` names
    seeds : ints, one per member
        They decide the initial parameters and the order of the mini-batches. For a sweep, repeat
        them and give each member its own learning rate.
    inputs, targets : tensors, shape (n, ...); targets may be a tuple of tensors
        Device and dtype of the training are the inputs'.
    losses, metrics : name -> function, see `helpers.objectives`
        The losses' sum, weighted by `loss_weights` (1 where a name is absent), is descended.
    iterations : number of updates
    learning_rate : float, or one per member, shape (members,)
    optimizer : function(parameters, lr) that returns a `torch.optim.Optimizer`
        Its steps must be proportional to its rate, as those of SGD and Adam are. Default: plain
        gradient descent.
    schedule : function(share of the updates that are made, 0 to 1) -> factor of the rate
    batch_size : samples per update, at the end of an epoch those that are left; default: all
    stop_when : name of a metric; a member's training ends as soon as it reaches 1 in it
    initialize : function(network, generator), or one per member
        It gets a network as PyTorch draws it with the seed, which None leaves as it is.
    snapshots_at : iterations at which to keep a copy of all parameters; 0: before the first update
    parallel : whether to deal the members out to the processor's cores; for large networks
    """
    task = SimpleNamespace(**locals())  # the arguments, by their names
    task.targets, task.snapshots_at = as_tuple(targets), frozenset(snapshots_at)
    task.metrics, task.loss_weights = metrics or {}, loss_weights or {}
    task.measured = dict(losses) | task.metrics
    task.descended = [(f, task.loss_weights.get(name, 1.0)) for name, f in losses.items()]
    task.rates = np.asarray(learning_rate, dtype=float)
    _check(task)
    samples, members = len(inputs), len(seeds)
    task.per_epoch = math.ceil(samples / (batch_size or samples))
    shape = iterations + 1, len(task.measured), members
    task.rows = np.full(shape, np.nan, np.float32)  # NaN: nothing was measured
    task.solved_at, task.diverged_at = np.full((2, members), np.inf)
    task.snapshots = {}
    start = initial_parameters(make_network, seeds, initialize).items()
    task.parameters = {name: values.to(inputs) for name, values in start}
    network = _build(make_network).to(inputs)
    parts = np.array_split(np.arange(members), min(cpu_count(), members) if parallel else 1)
    groups = [_Group(task, network, members) for members in parts]
    Parallel(len(groups), prefer="threads")(delayed(group.train)() for group in groups)
    for moment, snapshot in task.snapshots.items():
        ended = torch.as_tensor(np.minimum(task.solved_at, task.diverged_at) < moment)
        for name, values in snapshot.items():
            values[ended] = task.parameters[name][ended]
    curves = task.rows[: max(group.points for group in groups)].transpose(1, 2, 0).copy()
    return History(
        seeds=np.array(seeds),
        curves=dict(zip(task.measured, curves, strict=True)),
        solved_at=task.solved_at,
        diverged_at=task.diverged_at,
        parameters=task.parameters,
        snapshots=dict(sorted(task.snapshots.items())),
        seconds=max(group.seconds for group in groups),
    )


def _check(task: SimpleNamespace) -> None:
    """Raise ValueError, with what was expected, for settings that don't fit together."""
    losses, metrics, weights = map(list, (task.losses, task.metrics, task.loss_weights))
    shapes, stop = [tuple(t.shape) for t in (task.inputs, *task.targets)], task.stop_when
    faults = {
        f"losses and metrics need names of their own: {losses + metrics}": {*losses} & {*metrics},
        f"loss_weights names {weights}, but the losses are {losses}": {*weights} - {*losses},
        f"stop_when is {stop!r}, but the metrics are {metrics}": stop not in (None, *metrics),
        f"iterations is {task.iterations}; expected at least 0": task.iterations < 0,
        f"inputs and targets have shapes {shapes}; expected (n, ...) of all": (
            len({shape[:1] for shape in shapes}) > 1
        ),
    }
    for message, wrong in faults.items():
        if wrong:
            raise ValueError(message)


class _Group:
    """Members that one core trains together, and what is recorded of them.

    `alive` are the places, among all members, of those that are still trained: the stack's.
    """

    def __init__(self, task: SimpleNamespace, network: nn.Module, members: np.ndarray):
        self.task, self.network, self.first = task, network, int(members[0])
        self.alive = torch.as_tensor(members, device=task.inputs.device)
        start = {name: values[self.alive] for name, values in task.parameters.items()}
        self.networks = stack(network, start, task.inputs[:2])
        self._make_optimizer()
        self.generators = [torch.Generator().manual_seed(int(task.seeds[m])) for m in members]
        self.stop_row = [*task.measured].index(task.stop_when) if task.stop_when else None
        self.points = 0

    @torch.no_grad()
    def train(self) -> None:
        """The loop."""
        task, own, begin = self.task, self.task.batch_size is not None, time.perf_counter()
        with progress_bar(task.iterations) as progress:
            for iteration in range(task.iterations + 1):
                if iteration in task.snapshots_at:
                    copy = {name: values.clone() for name, values in task.parameters.items()}
                    self._store(task.snapshots.setdefault(iteration, copy))
                last = iteration == task.iterations
                if last and own:
                    break
                inputs, targets = self._batch(iteration % task.per_epoch)
                outputs = self.networks.outputs(inputs, own, training=not last)
                if not last:
                    self.networks.pull_back(slopes_of(task.descended, outputs, targets))
                values = values_of(task.measured.values(), outputs, targets)
                going_on = self._record(iteration, values)
                if last or not len(going_on):
                    break
                if len(going_on) < len(self.alive):
                    self._keep(going_on)
                self._step(task.schedule(iteration / task.iterations) if task.schedule else 1.0)
                progress.update()
        self.seconds = time.perf_counter() - begin
        self._store(task.parameters)

    def _batch(self, place: int) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Inputs, all (n, ...) or a batch (members, n, ...), and targets (members, n, ...).

        `place` counts the updates of an epoch; each member's batches are in an order of its own.
        """
        task, alive, size = self.task, self.alive, self.task.batch_size
        if size is None:
            return task.inputs, tuple(t.expand(len(alive), *t.shape) for t in task.targets)
        if place == 0:
            orders = [torch.randperm(len(task.inputs), generator=g) for g in self.generators]
            self.orders = torch.stack(orders).to(alive.device)  # (members of the group, n)
        index = self.orders[alive - self.first, place * size : (place + 1) * size]
        # Gathered with one row per sample, as stacked layers need it.
        rows = task.inputs.index_select(0, index.T.flatten()).unflatten(0, index.T.shape)
        return rows.transpose(0, 1), tuple(target[index] for target in task.targets)

    def _store(self, place: Parameters) -> None:
        """Write the present parameters to the members' places among all."""
        for name, values in self.networks.state().items():
            place[name][self.alive] = values

    def _record(self, iteration: int, row: Tensor) -> Sequence[int] | Tensor:
        """Note values (names, members); the members that are neither solved nor have diverged."""
        task, losses = self.task, row[: len(self.task.losses)]
        solved = row[self.stop_row] == 1 if task.stop_when else None
        self.points = iteration + 1
        if math.isfinite(losses.sum()) and (solved is None or not solved.any()):
            task.rows[iteration][:, self.places] = row.cpu().numpy()
            return range(len(self.alive))
        diverged = ~torch.isfinite(losses).all(0)
        solved = torch.zeros_like(diverged) if solved is None else solved & ~diverged
        task.rows[iteration][:, self.places] = row.masked_fill(diverged, math.nan).cpu().numpy()
        self._store(task.parameters)
        task.solved_at[self.alive[solved].cpu().numpy()] = iteration
        task.diverged_at[self.alive[diverged].cpu().numpy()] = iteration
        return torch.nonzero(~(solved | diverged))[:, 0]

    def _keep(self, members: Tensor) -> None:
        """Go on with some members of the stack, with their gradients and the optimiser's memory."""
        old, memory = self.networks, list(self.optimizer.state.values()) if self.optimizer else []
        self.alive = self.alive[members]
        state = {name: values[members] for name, values in old.state().items()}
        self.networks = type(old)(self.network, state)
        for leaf, old_leaf in zip(self.networks.leaves, old.leaves, strict=True):
            leaf.grad = old_leaf.grad[members]
        self._make_optimizer()
        for leaf, remembered in zip(self.networks.leaves, memory, strict=False):
            kept = {k: v[members] if v.dim() else v for k, v in remembered.items()}
            self.optimizer.state[leaf] = kept

    def _make_optimizer(self) -> None:
        """An optimiser at the highest rate; `shares` of its steps are each member's, if unequal."""
        leaves, self.places = self.networks.leaves, self.alive.cpu().numpy()
        if len(self.places) == len(self.task.solved_at):
            self.places = slice(None)  # faster
        rates = np.broadcast_to(self.task.rates, self.task.solved_at.shape)[self.places]
        self.rate, self.shares = float(rates.max()), []
        if (rates < self.rate).any():
            shares = torch.as_tensor(rates / self.rate).to(leaves[0])
            self.shares = [shares.view(-1, *[1] * (leaf.dim() - 1)) for leaf in leaves]
        self.optimizer = self.task.optimizer and self.task.optimizer(leaves, lr=self.rate)

    def _step(self, factor: float) -> None:
        """One update, with `factor` times the learning rates."""
        leaves, rate = self.networks.leaves, factor * self.rate
        if self.optimizer is None:  # torch.optim.SGD would take a fifth of a small network's time
            for i, leaf in enumerate(leaves):
                if self.shares:
                    leaf.addcmul_(leaf.grad, self.shares[i], value=-rate)
                else:
                    leaf.sub_(leaf.grad, alpha=rate)
            return
        starts = [leaf.clone() for leaf in leaves] if self.shares else []
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.step()
        for start, leaf, share in zip(starts, leaves, self.shares, strict=False):
            torch.lerp(start, leaf, share, out=leaf)
