"""Train one network from many seeds at once, each with its own history.

`train` runs the usual loop (outputs, loss, gradient, step) over a stack of networks, see
`helpers.stacking`. A member that is solved or has diverged leaves the stack, so that it costs no
more. Members never meet: what becomes of one does not depend on which others are trained beside it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from helpers.cores import core_count, on_all_cores
from helpers.history import History, Parameters
from helpers.objectives import Function, Objective, alone, as_tuple
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
        Training ends at the first limit: updates, passes through the data, seconds of training. One
        of the first two is needed.
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
    objective = Objective(losses, metrics or {}, loss_weights or {})
    rates = np.asarray(learning_rate, dtype=float)
    task = SimpleNamespace(
        network=_build(make_network, inputs),
        parameters={name: values.to(inputs.device, inputs.dtype) for name, values in start.items()},
        inputs=inputs,
        targets=as_tuple(targets),
        own_data=own_data,
        order_seeds=seeds if order_seeds is None else order_seeds,
        objective=objective,
        learning_rate=rates if rates.ndim else np.full(len(seeds), rates),
        optimizer=optimizer,
        schedule=schedule or (lambda done: 1.0),
        limits={"iterations": iterations, "epochs": epochs, "max_seconds": max_seconds},
        sizes={"batch_size": batch_size, "evaluate_every": evaluate_every},
        stop_row=objective.names.index(stop_when) if stop_when in objective.names else None,
        snapshots_at=frozenset(snapshots_at),
        snapshots={},
        evaluate=evaluate or {},
        solved_at=np.full(len(seeds), np.inf),
        diverged_at=np.full(len(seeds), np.inf),
    )
    for wrong, message in _faults(task, len(seeds), stop_when):
        if wrong:
            raise ValueError(message)
    cores = min(core_count(), len(seeds)) if parallel else 1
    groups = [_Group(task, members) for members in np.array_split(np.arange(len(seeds)), cores)]
    on_all_cores(_Group.train, groups)
    return _history(seeds, task, groups)


def _faults(
    task: SimpleNamespace, members: int, stop_when: str | None
) -> Iterator[tuple[bool, str]]:
    """Whether settings don't fit together, and what to say then."""
    names, losses = task.objective.names, list(task.objective.losses)
    yield not losses, "losses is empty; give at least one {name: function}"
    yield len(set(names)) < len(names), f"each loss and metric needs a name of its own: {names}"
    unknown = set(task.objective.weights) - set(losses)
    yield bool(unknown), f"loss_weights names {sorted(unknown)}, but the losses are {losses}"
    metrics = list(task.objective.metrics)
    unknown = stop_when not in [None, *metrics]
    yield unknown, f"stop_when is {stop_when!r}, but the metrics are {metrics}"
    endless = task.limits["iterations"] is None and task.limits["epochs"] is None
    yield endless, "nothing ends this training; give iterations or epochs"
    for name, number in (task.limits | task.sizes).items():
        least = 1 if name in task.sizes else 0
        low = number is not None and number < least
        yield low, f"{name} is {number}; expected at least {least}"
    shapes = [tuple(tensor.shape) for tensor in (task.inputs, *task.targets)]
    differ = len({shape[: 1 + task.own_data] for shape in shapes}) > 1
    expected = f"({members} members, n, ...)" if task.own_data else "(n, ...)"
    differ = differ or (task.own_data and shapes[0][0] != members)
    yield differ, f"inputs and targets have shapes {shapes}; expected {expected} of all"
    for name in ("learning_rate", "order_seeds"):
        value = getattr(task, name)
        unequal = np.ndim(value) == 1 and len(value) != members
        yield unequal, f"{name} has {np.size(value)} entries; expected one, or {members}"


class _Group:
    """Members that one core trains together, and what is recorded of them.

    `alive` are the places, among all members, of those that are still trained: the stack's.
    """

    def __init__(self, task: SimpleNamespace, members: np.ndarray):
        self.task = task
        self.alive = torch.as_tensor(members, device=task.inputs.device)
        self.batches = _Batches(task, self.alive)
        start = {name: values[self.alive] for name, values in task.parameters.items()}
        sample = task.inputs[self.alive, :2] if task.own_data else task.inputs[:2]
        self.networks = stack(task.network, start, sample, task.own_data)
        self._make_optimizer()
        self.segments: list[tuple[int, Tensor, list[Tensor]]] = [(0, self.alive, [])]
        self.evaluated: list[tuple[int, float, Tensor, dict[str, Tensor]]] = []

    @torch.no_grad()
    def train(self) -> None:
        """The loop."""
        task, networks, batches = self.task, self.networks, self.batches
        limits = {name: math.inf if v is None else v for name, v in task.limits.items()}
        updates = int(min(limits["iterations"], limits["epochs"] * batches.per_epoch))
        every = task.sizes["evaluate_every"] or batches.per_epoch
        self.begin = time.perf_counter()
        with progress_bar(updates) as progress:
            for iteration in range(updates + 1):
                self.seconds = time.perf_counter() - self.begin
                last = iteration == updates or self.seconds >= limits["max_seconds"]
                if iteration in task.snapshots_at:
                    self._store(task.snapshots.setdefault(iteration, _copy(task.parameters)))
                if task.evaluate and (last or iteration % every == 0):
                    self._evaluate(iteration)
                if last and task.sizes["batch_size"]:
                    break
                batch = batches.get(iteration, self.alive)
                measure = networks.measure if last else networks.differentiate
                self._record(iteration, measure(task.objective, *batch))
                if last or not len(self.alive):
                    break
                self._step(task.schedule(iteration / updates))
                progress.update()
        self._store(task.parameters)

    def _store(self, place: Parameters) -> None:
        """Write the present parameters to the members' places among all."""
        if len(self.alive):
            for name, values in self.networks.state().items():
                place[name][self.alive] = values

    def _record(self, iteration: int, values: list[Tensor]) -> None:
        """Keep one iteration's values, and let go of members that are solved or have diverged."""
        task, row = self.task, torch.stack(values)  # (names, members)
        self.segments[-1][2].append(row)
        losses = row[: len(task.objective.losses)]
        solved = None if task.stop_row is None else row[task.stop_row] == 1
        if math.isfinite(losses.sum()) and (solved is None or not solved.any()):
            return
        diverged = ~torch.isfinite(losses).all(0)
        solved = torch.zeros_like(diverged) if solved is None else solved & ~diverged
        self._store(task.parameters)
        task.solved_at[self.alive[solved].cpu().numpy()] = iteration
        task.diverged_at[self.alive[diverged].cpu().numpy()] = iteration
        self._keep(torch.nonzero(~(solved | diverged))[:, 0])
        self.segments.append((iteration + 1, self.alive, []))

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
        leaves, rates = self.networks.leaves, self.task.learning_rate[self.alive.cpu().numpy()]
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
        begin, found = time.perf_counter(), {}
        for name, (inputs, targets) in self.task.evaluate.items():
            outputs = _outputs(self.networks, inputs)
            shared = _for_each(self.alive, as_tuple(targets))
            values = self.task.objective.values(outputs, shared)
            found[name] = torch.stack(values)  # (names, members)
        self.evaluated.append((iteration, self.seconds, self.alive, found))
        self.begin += time.perf_counter() - begin


class _Batches:
    """The samples of each update: all of them, or mini-batches in each member's own order."""

    def __init__(self, task: SimpleNamespace, members: Tensor):
        self.task, self.first = task, int(members[0])
        self.samples = task.inputs.shape[1 if task.own_data else 0]
        self.size = task.sizes["batch_size"] or self.samples
        self.per_epoch = math.ceil(self.samples / self.size)
        seeds = np.atleast_1d(task.order_seeds)
        self.one_order = np.ndim(task.order_seeds) == 0
        chosen = seeds if self.one_order else seeds[members.cpu().numpy()]
        self.generators = [torch.Generator().manual_seed(int(seed)) for seed in chosen]
        self.full = None, None

    def get(self, iteration: int, alive: Tensor) -> tuple[Tensor, tuple, bool]:
        """Inputs; targets, shape (members, n, ...); whether the inputs are each member's own."""
        if not self.task.sizes["batch_size"]:
            if self.full[0] is not alive:
                self.full = alive, self._take(alive, None)
            return self.full[1]
        step = iteration % self.per_epoch
        if step == 0:
            orders = [torch.randperm(self.samples, generator=g) for g in self.generators]
            self.orders = torch.stack(orders).to(alive.device)  # (members of the group, n)
        index = self.orders[:, step * self.size : (step + 1) * self.size]
        return self._take(alive, index[0] if self.one_order else index[alive - self.first])

    def _take(self, alive: Tensor, index: Tensor | None) -> tuple[Tensor, tuple, bool]:
        """The samples `index`, shape (n,) or (members, n), or all samples."""
        inputs, targets = self.task.inputs, self.task.targets
        if self.task.own_data:
            at = alive if index is None else (alive[:, None], index)
            return inputs[at], tuple(target[at] for target in targets), True
        if index is not None and index.dim() == 2:
            # One row per sample, as stacked layers need it, seen as one row per member.
            rows = inputs.index_select(0, index.T.flatten()).unflatten(0, index.T.shape)
            return rows.transpose(0, 1), tuple(target[index] for target in targets), True
        at = slice(None) if index is None else index
        return inputs[at], _for_each(alive, [target[at] for target in targets]), False


def _for_each(members: Tensor, targets: Iterable[Tensor]) -> tuple[Tensor, ...]:
    """The same targets for each member: (n, ...) -> (members, n, ...), without a copy."""
    return tuple(target.expand(len(members), *target.shape) for target in targets)


def _copy(parameters: Parameters) -> Parameters:
    return {name: values.clone() for name, values in parameters.items()}


def _history(seeds: np.ndarray, task: SimpleNamespace, groups: Sequence[_Group]) -> History:
    """What the groups have recorded, with all members in their order."""
    names, nothing = task.objective.names, np.float32(np.nan)
    points = max(first + len(rows) for group in groups for first, _, rows in group.segments)
    curves = np.full((len(names), len(seeds), points), nothing)
    columns = max(len(group.evaluated) for group in groups)
    times = np.full((2, len(seeds), columns), np.nan)
    evaluations = {
        name: np.full((len(names), len(seeds), columns), nothing) for name in task.evaluate
    }
    for group in groups:
        for first, alive, rows in group.segments:
            if rows:
                block = torch.stack(rows).permute(1, 2, 0).cpu().numpy()
                curves[:, alive.cpu().numpy(), first : first + len(rows)] = block
        for column, (iteration, seconds, alive, found) in enumerate(group.evaluated):
            members = alive.cpu().numpy()
            times[:, members, column] = [[iteration], [seconds]]
            for name, values in found.items():
                evaluations[name][:, members, column] = values.cpu().numpy()
    for member in np.flatnonzero(np.isfinite(task.diverged_at)):
        curves[:, member, int(task.diverged_at[member]) :] = nothing
    for moment, snapshot in task.snapshots.items():
        ended = torch.as_tensor(np.minimum(task.solved_at, task.diverged_at) < moment)
        for name, values in snapshot.items():
            values[ended] = task.parameters[name][ended]
    return History(
        seeds=seeds,
        curves=dict(zip(names, curves, strict=True)),
        solved_at=task.solved_at,
        diverged_at=task.diverged_at,
        parameters=task.parameters,
        snapshots=dict(sorted(task.snapshots.items())),
        evaluations={
            name: dict(zip(names, values, strict=True)) for name, values in evaluations.items()
        },
        evaluated_at=times[0],
        evaluated_after=times[1],
        seconds=max(group.seconds for group in groups),
    )
