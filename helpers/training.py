"""Train one network from many seeds at once, each with its own history.

`train` runs the usual loop (outputs, loss, gradient, step) over a stack of networks, see
`helpers.stacking`. A member that is solved or has diverged leaves the stack, so that it costs no
more. Members never meet: what becomes of one does not depend on which others are trained beside it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from joblib import cpu_count
from torch import Tensor, nn

from helpers.cores import on_all_cores
from helpers.history import History, Parameters
from helpers.objectives import Function, Objective, alone, as_tuple
from helpers.progress import progress_bar
from helpers.stacking import Stack, stack

Initializer = Callable[[nn.Module, torch.Generator], None]

EVALUATED_AT_ONCE = 1000  # samples
MANY = 1_000_000  # updates, where seconds alone end a training


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
    return alone(_outputs(networks, inputs))


@torch.no_grad()
def _outputs(networks: Stack, inputs: Tensor) -> tuple[Tensor, ...]:
    parts = [networks.outputs(part) for part in inputs.split(EVALUATED_AT_ONCE)]
    return tuple(torch.cat(outputs, 1) for outputs in zip(*parts, strict=True))


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
    make_network : function that returns an `nn.Module` of layers that `helpers.stacking` names
    seeds : ints
        One member per seed, which decides its initial parameters and the order of its mini-batches.
        For a sweep, repeat the seeds and give each member its own learning rate.
    inputs, targets : tensors, shape (n, ...); targets may be a tuple of tensors
        With `own_data` each member's own, (members, n, ...). Device and dtype are the inputs'.
    losses, metrics : name -> function, see `helpers.objectives`
        The losses' sum, weighted by `loss_weights` (1 where a name is absent), is descended.
    learning_rate : float, or one per member, shape (members,)
    optimizer : function(parameters, lr) that returns a `torch.optim.Optimizer`
        Its steps must be proportional to its rate, as those of SGD and Adam are. Default: plain
        gradient descent.
    schedule : function(share of the updates that are made, 0 to 1) -> factor of the rate
    iterations, epochs, max_seconds : numbers
        Training ends at the first limit: updates, passes through the data, seconds of training.
    batch_size : int
        Samples per update; the last batch of an epoch has what is left. Default: all samples.
    stop_when : name of a metric; a member's training ends as soon as it reaches 1 in it
    initialize : function(network, generator), or one per member, or None
        With None, PyTorch's own initialisation: the seed is that of its global generator.
    snapshots_at : ints
        Iterations at which to keep a copy of all parameters; 0 is before the first update.
    evaluate : name -> (inputs, targets)
        Other data, on which losses and metrics are measured in evaluation mode: before the first
        update, every `evaluate_every` updates (default: every epoch) and after the last.
    parallel : bool
        Deal the members out to the processor's cores. It pays for large networks only.

    Raises
    ------
    ValueError
        For a layer that can't be stacked, and for settings that don't fit together.
    """
    task = SimpleNamespace(**locals())  # the arguments, by their names
    task.targets, task.snapshots_at = as_tuple(targets), frozenset(snapshots_at)
    task.objective = Objective(losses, metrics or {}, loss_weights or {})
    task.rates = np.asarray(learning_rate, dtype=float)
    task.solved_at, task.diverged_at = (np.full(len(seeds), np.inf) for _ in range(2))
    _check(task)
    start = initial_parameters(make_network, seeds, initialize).items()
    task.parameters = {name: values.to(inputs.device, inputs.dtype) for name, values in start}
    network = _build(make_network, inputs)
    _make_room(task)
    parts = np.array_split(np.arange(len(seeds)), min(cpu_count(), len(seeds)) if parallel else 1)
    groups = [_Group(task, network, members) for members in parts]
    on_all_cores(_Group.train, groups)
    points, evaluations = (max(getattr(g, n) for g in groups) for n in ("points", "evaluations"))
    for moment, snapshot in task.snapshots.items():
        ended = torch.as_tensor(np.minimum(task.solved_at, task.diverged_at) < moment)
        for name, values in snapshot.items():
            values[ended] = task.parameters[name][ended]

    def by_name(rows: np.ndarray) -> dict[str, np.ndarray]:
        """Rows (points, names, members) -> name -> (members, points)."""
        return dict(zip(task.objective.names, rows.transpose(1, 2, 0).copy(), strict=True))

    return History(
        seeds=np.array(seeds),
        curves=by_name(task.rows[:points]),
        solved_at=task.solved_at,
        diverged_at=task.diverged_at,
        parameters=task.parameters,
        snapshots=dict(sorted(task.snapshots.items())),
        evaluations={name: by_name(rows[:evaluations]) for name, rows in task.evaluated.items()},
        evaluated_at=task.times[:evaluations, 0].T,
        evaluated_after=task.times[:evaluations, 1].T,
        seconds=max(group.seconds for group in groups),
    )


def _make_room(task: SimpleNamespace) -> None:
    """How long the training is, and room for what will be noted of it, NaN where nothing is."""
    samples = task.inputs.shape[int(task.own_data)]
    task.per_epoch = math.ceil(samples / (task.batch_size or samples))
    limits = [task.iterations, None if task.epochs is None else task.epochs * task.per_epoch]
    task.updates = min((limit for limit in limits if limit is not None), default=MANY)
    task.every = task.evaluate_every or task.per_epoch
    names, members = len(task.objective.names), len(task.solved_at)
    task.rows = np.full((task.updates + 1, names, members), np.nan, np.float32)
    evaluations = task.updates // task.every + 2
    shape = (evaluations, names, members)
    task.evaluated = {name: np.full(shape, np.nan, np.float32) for name in task.evaluate or {}}
    task.times = np.full((evaluations, 2, members), np.nan)  # iteration and seconds
    task.snapshots = {}


def _check(task: SimpleNamespace) -> None:
    """Raise ValueError, with what was expected, for settings that don't fit together."""
    losses, metrics = list(task.objective.losses), list(task.objective.metrics)
    names, weights, members = losses + metrics, list(task.objective.weights), len(task.solved_at)
    shapes = [tuple(tensor.shape) for tensor in (task.inputs, *task.targets)]
    alike = len({shape[: 1 + task.own_data] for shape in shapes}) == 1
    alike = alike and (not task.own_data or shapes[0][0] == members)
    axes = f"({members} members, n, ...)" if task.own_data else "(n, ...)"
    limits = {name: getattr(task, name) for name in ("iterations", "epochs", "max_seconds")}
    ends = [limit for limit in limits.values() if limit is not None]
    faults = {
        "losses is empty; give at least one {name: function}": not losses,
        f"losses and metrics need names of their own: {names}": len(set(names)) < len(names),
        f"loss_weights names {weights}, but the losses are {losses}": set(weights) - set(losses),
        f"stop_when is {task.stop_when!r}, but the metrics are {metrics}": (
            task.stop_when not in [None, *metrics]
        ),
        f"nothing ends this training; give one of {', '.join(limits)}": not ends,
        f"a limit is negative: {limits}": min(ends, default=0) < 0,
        f"inputs and targets have shapes {shapes}; expected {axes} of all": not alike,
        f"learning_rate has shape {task.rates.shape}; expected a number, or {members}": (
            task.rates.shape not in [(), (members,)]
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
        self.task, self.first = task, int(members[0])
        self.alive = torch.as_tensor(members, device=task.inputs.device)
        self.own = task.own_data or task.batch_size is not None
        sample = task.inputs[0, :2] if task.own_data else task.inputs[:2]
        start = {name: values[self.alive] for name, values in task.parameters.items()}
        self.networks = stack(network, start, sample)
        self._make_optimizer()
        self.generators = [torch.Generator().manual_seed(int(task.seeds[m])) for m in members]
        self.stop_row = task.objective.names.index(task.stop_when) if task.stop_when else None
        self.samples = task.inputs.shape[int(task.own_data)]
        self.full: tuple = None, None
        self.points = self.evaluations = 0

    @torch.no_grad()
    def train(self) -> None:
        """The loop."""
        task, networks = self.task, self.networks
        limit = math.inf if task.max_seconds is None else task.max_seconds
        self.begin = time.perf_counter()
        with progress_bar(None if task.updates == MANY else task.updates) as progress:
            for iteration in range(task.updates + 1):
                self.seconds = time.perf_counter() - self.begin
                last = iteration == task.updates or self.seconds >= limit
                if iteration in task.snapshots_at:
                    copy = {name: values.clone() for name, values in task.parameters.items()}
                    self._store(task.snapshots.setdefault(iteration, copy))
                if task.evaluate and (last or iteration % task.every == 0):
                    self._evaluate(iteration)
                if last and task.batch_size:
                    break
                measure = networks.measure if last else networks.differentiate
                batch = self._batch(iteration % task.per_epoch)
                self._record(iteration, measure(task.objective, *batch, self.own))
                if last or not len(self.alive):
                    break
                self._step(task.schedule(iteration / task.updates) if task.schedule else 1.0)
                progress.update()
        self._store(task.parameters)

    def _batch(self, place: int) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Inputs, (n, ...) or each member's own, (members, n, ...), and targets (members, n, ...).

        `place` counts the updates of an epoch; each member's batches are in an order of its own.
        """
        task, alive, index = self.task, self.alive, slice(None)
        if task.batch_size is None and self.full[0] is alive:
            return self.full[1]
        if task.batch_size is not None:
            if place == 0:
                orders = [torch.randperm(self.samples, generator=g) for g in self.generators]
                self.orders = torch.stack(orders).to(alive.device)  # (members of the group, n)
            columns = slice(place * task.batch_size, (place + 1) * task.batch_size)
            index = self.orders[alive - self.first, columns]
        if task.own_data:
            at = (alive if task.batch_size is None else alive[:, None], index)
            batch = task.inputs[at], tuple(target[at] for target in task.targets)
        elif task.batch_size is None:
            batch = task.inputs, _for_each(alive, task.targets)
        else:  # gathered with one row per sample, as stacked layers need it
            rows = task.inputs.index_select(0, index.T.flatten()).unflatten(0, index.T.shape)
            batch = rows.transpose(0, 1), tuple(target[index] for target in task.targets)
        self.full = alive, batch
        return batch

    def _store(self, place: Parameters) -> None:
        """Write the present parameters to the members' places among all."""
        if len(self.alive):
            for name, values in self.networks.state().items():
                place[name][self.alive] = values

    def _record(self, iteration: int, values: list[Tensor]) -> None:
        """Note one iteration's values, and let go of members that are solved or have diverged."""
        task, row = self.task, torch.stack(values)  # (names, members)
        losses = row[: len(task.objective.losses)]
        solved = row[self.stop_row] == 1 if task.stop_when else None
        self.points = iteration + 1
        if math.isfinite(losses.sum()) and (solved is None or not solved.any()):
            task.rows[iteration][:, self.places] = row.cpu().numpy()
            return
        diverged = ~torch.isfinite(losses).all(0)
        solved = torch.zeros_like(diverged) if solved is None else solved & ~diverged
        task.rows[iteration][:, self.places] = row.masked_fill(diverged, math.nan).cpu().numpy()
        self._store(task.parameters)
        task.solved_at[self.alive[solved].cpu().numpy()] = iteration
        task.diverged_at[self.alive[diverged].cpu().numpy()] = iteration
        self._keep(torch.nonzero(~(solved | diverged))[:, 0])

    def _keep(self, members: Tensor) -> None:
        """Go on with some members of the stack, with their gradients and the optimiser's memory."""
        self.alive = self.alive[members]
        if not len(members):
            return
        memory = list(self.optimizer.state.values()) if self.optimizer else []
        self.networks.keep(members)
        self._make_optimizer()
        for leaf, state in zip(self.networks.leaves, memory, strict=False):
            kept = {k: value[members] if value.dim() else value for k, value in state.items()}
            self.optimizer.state[leaf] = kept

    def _make_optimizer(self) -> None:
        """An optimiser at the highest rate; `shares` of its steps are each member's, if unequal."""
        leaves, self.places = self.networks.leaves, self.alive.cpu().numpy()
        if len(self.places) == len(self.task.solved_at):
            self.places = slice(None)  # faster
        rates = self.task.rates[self.places] if self.task.rates.ndim else self.task.rates[None]
        self.rate = float(rates.max())
        unequal = bool((rates < self.rate).any())
        shares = torch.as_tensor(rates / self.rate if unequal else rates).to(leaves[0])
        views = [shares.view(-1, *[1] * (leaf.dim() - 1)) if unequal else None for leaf in leaves]
        self.shares = list(zip(leaves, views, strict=True))
        self.optimizer = self.task.optimizer and self.task.optimizer(leaves, lr=self.rate)

    def _step(self, factor: float) -> None:
        """One update, with `factor` times the learning rates."""
        if self.optimizer is None:  # torch.optim.SGD would take a fifth of a small network's time
            for leaf, share in self.shares:
                if share is None:
                    leaf.sub_(leaf.grad, alpha=factor * self.rate)
                else:
                    leaf.addcmul_(leaf.grad, share, value=-factor * self.rate)
            return
        starts = [leaf if share is None else leaf.clone() for leaf, share in self.shares]
        self.optimizer.param_groups[0]["lr"] = factor * self.rate
        self.optimizer.step()
        for start, (leaf, share) in zip(starts, self.shares, strict=True):
            if share is not None:
                torch.lerp(start, leaf, share, out=leaf)

    def _evaluate(self, iteration: int) -> None:
        """Losses and metrics on the other data; the clock stands still meanwhile."""
        begin, task = time.perf_counter(), self.task
        for name, (inputs, targets) in task.evaluate.items():
            shared = _for_each(self.alive, as_tuple(targets))
            values = task.objective.values(_outputs(self.networks, inputs), shared)
            rows = task.evaluated[name][self.evaluations]
            rows[:, self.places] = torch.stack(values).cpu().numpy()
        task.times[self.evaluations][:, self.places] = [[iteration], [self.seconds]]
        self.evaluations += 1
        self.begin += time.perf_counter() - begin


def _for_each(members: Tensor, targets: Iterable[Tensor]) -> tuple[Tensor, ...]:
    """The same targets for each member: (n, ...) -> (members, n, ...), without a copy."""
    return tuple(target.expand(len(members), *target.shape) for target in targets)
