"""Initialise and train: many seeds of one small network at once, each with its own history.

An *ensemble* is the same architecture started from several seeds. Its parameters are stacked along
a leading *member* axis, so that one tensor operation advances every member. Members never
interact: each has its own loss, its own gradient and its own row in the `History`.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from tqdm.auto import tqdm

from helpers.tracing import trace

Objective = Callable[[Any, Any], Tensor]
Initializer = Callable[[nn.Module, torch.Generator], None]
Parameters = dict[str, Tensor]

GRADIENT_NORM = "gradient_norm"


@dataclass(frozen=True)
class History:
    """What happened while an ensemble was trained.

    Attributes
    ----------
    seeds : int array, shape (members,)
    curves : name -> float32 array, shape (members, iterations + 1)
        Column t is measured after t updates, so column 0 is the untrained network. A diverged
        member's values are NaN from the iteration at which its loss stopped being finite.
    solved_at : float array, shape (members,)
        The number of updates after which the stopping metric was first 1; infinite if it never was.
    diverged_at : float array, shape (members,)
        The number of updates after which the loss was first not finite; infinite if it always was.
    parameters : name -> tensor, shape (members, ...)
        Each member's parameters when it was first solved (the last ones if it never was): what
        training that member alone would have returned.
    final_parameters : name -> tensor, shape (members, ...)
        The parameters after the last iteration of the whole ensemble.
    snapshots : iteration -> parameters
        Copies taken at the iterations that were asked for, as far as the training got.
    seconds : float
        Wall-clock time of the training loop.
    """

    seeds: np.ndarray
    curves: dict[str, np.ndarray]
    solved_at: np.ndarray
    diverged_at: np.ndarray
    parameters: Parameters
    final_parameters: Parameters
    snapshots: dict[int, Parameters]
    seconds: float

    @property
    def members(self) -> int:
        """Number of networks."""
        return len(self.seeds)

    @property
    def iterations(self) -> int:
        """Number of updates that were made."""
        return next(iter(self.curves.values())).shape[1] - 1

    @property
    def solved(self) -> np.ndarray:
        """Whether each member's stopping metric ever was 1; bool array, shape (members,)."""
        return np.isfinite(self.solved_at)

    def curve(self, name: str, after_solved: str = "keep") -> np.ndarray:
        """One measured quantity of all members, shape (members, iterations + 1).

        `after_solved="keep"` returns the whole curve, `"cut"` sets it to NaN after the iteration
        at which the member was solved, where training that member alone would have ended.
        """
        if name not in self.curves:
            raise KeyError(f"no curve {name!r}; this history has {sorted(self.curves)}")
        if after_solved not in ("keep", "cut"):
            raise ValueError(f"after_solved is 'keep' or 'cut', not {after_solved!r}")
        if after_solved == "keep":
            return self.curves[name]
        later = np.arange(self.iterations + 1) > self.solved_at[:, None]
        return np.where(later, np.nan, self.curves[name])

    def quantiles(self, probabilities: Sequence[float] = (0.25, 0.5, 0.75)) -> np.ndarray:
        """Quantiles of `solved_at`; an unsolved member counts as later than every solved one.

        Returned values are iterations that a member really had (no interpolation, which could not
        cross from a finite number to infinity); infinite where too few members were solved.
        """
        return np.quantile(self.solved_at, probabilities, method="inverted_cdf")


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
            nn.init.trunc_normal_(
                parameter, mean=0.0, std=std, a=-2 * std, b=2 * std, generator=generator
            )


def initial_parameters(
    make_network: Callable[[], nn.Module],
    seeds: Iterable[int],
    initialize: Initializer = truncated_normal_,
) -> Parameters:
    """Parameters of one freshly initialised network per seed, stacked: shape (members, ...)."""
    network = _build(make_network)
    members = []
    for seed in seeds:
        initialize(network, torch.Generator().manual_seed(int(seed)))
        members.append({name: p.detach().clone() for name, p in network.named_parameters()})
    if not members:
        raise ValueError("seeds is empty; give one integer per network")
    return {name: torch.stack([member[name] for member in members]) for name in members[0]}


def ensemble_outputs(
    make_network: Callable[[], nn.Module], parameters: Parameters, inputs: Tensor
) -> Any:
    """Outputs of every member for the same inputs; each output gains a leading member axis."""
    network = _build(make_network)
    with torch.no_grad():
        return vmap(lambda member: functional_call(network, member, (inputs,)))(parameters)


def binary_accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Share of samples whose logit has the sign of its label; shapes (n,), labels in {0, 1}."""
    return ((logits > 0) == (labels > 0.5)).to(logits.dtype).mean()


def train_ensemble(
    make_network: Callable[[], nn.Module],
    seeds: Sequence[int],
    inputs: Tensor,
    targets: Any,
    losses: Mapping[str, Objective],
    *,
    loss_weights: Mapping[str, float] | None = None,
    metrics: Mapping[str, Objective] | None = None,
    stop_when: str | None = None,
    learning_rate: float = 0.1,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    max_iterations: int = 10_000,
    initialize: Initializer = truncated_normal_,
    snapshots_at: Iterable[int] = (),
    record_gradient_norm: bool = False,
) -> History:
    """Train one network per seed on the same data by full-batch gradient descent, all at once.

    Parameters
    ----------
    make_network : function without arguments that returns an `nn.Module`
        Called once; its parameters are replaced by those that `initialize` draws for each seed.
        Networks with buffers (batch normalisation) or random layers (dropout) are not supported.
    seeds : ints
        One member per seed. A member's result does not depend on which others are trained with it.
    inputs : tensor
        Given to every member as `network(inputs)`. Its device and dtype are used throughout.
    targets : anything
        Handed to losses and metrics as it is: a tensor, or a tuple or dict of tensors.
    losses : name -> function(outputs, targets) returning a scalar tensor
        Their sum, weighted by `loss_weights` (1 where a name is absent), is what training descends.
        With plain gradient descent a weight c is the same as a learning rate of its own, c times
        `learning_rate`.
    metrics : name -> function(outputs, targets) returning a scalar tensor
        Recorded only.
    stop_when : name of a metric, optional
        Training ends as soon as every member has either reached 1 in it once or diverged.
    learning_rate, momentum, weight_decay : float
        As in `torch.optim.SGD`.
    max_iterations : int
        The largest number of updates.
    initialize : function(network, generator)
    snapshots_at : ints
        Iterations at which to keep a copy of all parameters; 0 is before the first update.
    record_gradient_norm : bool
        Also record the Euclidean norm of the total loss's gradient as "gradient_norm".

    Returns
    -------
    History

    Raises
    ------
    ValueError
        For unknown names in `stop_when` or `loss_weights`, a name used twice, no seeds, a network
        with buffers, or a negative `max_iterations`.
    """
    metrics, loss_weights = metrics or {}, loss_weights or {}
    names = [*losses, *metrics, *([GRADIENT_NORM] if record_gradient_norm else [])]
    _check_names(losses, metrics, names, loss_weights, stop_when)
    if max_iterations < 0:
        raise ValueError(f"max_iterations is {max_iterations}; expected 0 or more")
    network = _build(make_network).to(inputs.device, inputs.dtype)
    start = initial_parameters(make_network, seeds, initialize)
    parameters = {
        name: stacked.to(inputs.device, inputs.dtype).requires_grad_()
        for name, stacked in start.items()
    }

    def total_loss(member: Parameters) -> tuple[Tensor, list[Tensor]]:
        outputs = functional_call(network, member, (inputs,))
        values = [function(outputs, targets) for function in losses.values()]
        total = sum(loss_weights.get(k, 1.0) * v for k, v in zip(losses, values, strict=True))
        return total, values + [function(outputs, targets) for function in metrics.values()]

    def step(member: Parameters) -> tuple[Parameters, Tensor]:
        gradients, measured = grad(total_loss, has_aux=True)(member)
        if record_gradient_norm:
            measured.append(sum(g.square().sum() for g in gradients.values()).sqrt())
        return gradients, torch.stack(measured)

    with torch.no_grad():
        gradients_and_values = trace(vmap(step, out_dims=(0, 1)), parameters)
        optimizer = torch.optim.SGD(
            parameters.values(), lr=learning_rate, momentum=momentum, weight_decay=weight_decay
        )
        recorder = _Recorder(
            names, len(losses), stop_when, parameters, max_iterations, snapshots_at
        )
        begin = time.perf_counter()
        with _progress_bar(max_iterations) as progress:
            for iteration in range(max_iterations + 1):
                gradients, values = gradients_and_values(parameters)
                recorder.record(iteration, values)
                if recorder.finished or iteration == max_iterations:
                    break
                for name, parameter in parameters.items():
                    parameter.grad = gradients[name]
                optimizer.step()
                progress.update()
        seconds = time.perf_counter() - begin
    return recorder.history(np.asarray(list(seeds)), seconds)


class _Recorder:
    """Keeps curves, first solutions, divergences and snapshots while an ensemble trains."""

    def __init__(self, names, n_losses, stop_when, parameters, max_iterations, snapshots_at):
        first = next(iter(parameters.values()))
        self.names, self.n_losses, self.live = names, n_losses, parameters
        self.stop_row = names.index(stop_when) if stop_when else None
        self.values = first.new_empty((max_iterations + 1, len(names), len(first)))
        self.waiting = torch.ones(len(first), dtype=torch.bool, device=first.device)
        self.solved_at = torch.full((len(first),), torch.inf, dtype=torch.float64)
        self.at_solution = None
        self.snapshots_at, self.snapshots = frozenset(snapshots_at), {}
        self.finished = False
        self.iteration = 0

    def record(self, iteration: int, values: Tensor) -> None:
        """Store one iteration's values, shape (names, members)."""
        self.iteration = iteration
        self.values[iteration] = values
        if iteration in self.snapshots_at:
            self.snapshots[iteration] = _copy(self.live)
        if not bool(torch.isfinite(values[: self.n_losses].sum())):
            self.waiting &= torch.isfinite(values[: self.n_losses]).all(0)
        if self.stop_row is None:
            return
        newly = self.waiting & (values[self.stop_row] == 1)
        if bool(newly.any()):
            self._keep_solutions(iteration, newly)
        self.finished = not bool(self.waiting.any())

    def _keep_solutions(self, iteration: int, newly: Tensor) -> None:
        if self.at_solution is None:
            self.at_solution = _copy(self.live)
        for name, kept in self.at_solution.items():
            kept[newly] = self.live[name].detach()[newly]
        self.solved_at[newly.cpu()] = iteration
        self.waiting &= ~newly

    def history(self, seeds: np.ndarray, seconds: float) -> History:
        values = self.values[: self.iteration + 1].float().cpu().numpy().transpose(1, 2, 0)
        broken = ~np.isfinite(values[: self.n_losses]).all(0)  # (members, iterations + 1)
        diverged_at = np.where(broken.any(1), broken.argmax(1), np.inf)
        values = np.where(np.maximum.accumulate(broken, axis=1), np.nan, values)
        final = _copy(self.live)
        solved_at = self.solved_at.numpy()
        solved = torch.as_tensor(np.isfinite(solved_at))
        kept = self.at_solution or final
        parameters = {
            name: torch.where(
                solved.to(last.device).view(-1, *[1] * (last.dim() - 1)), kept[name], last
            )
            for name, last in final.items()
        }
        curves = dict(zip(self.names, values, strict=True))
        return History(
            seeds, curves, solved_at, diverged_at, parameters, final, self.snapshots, seconds
        )


def _copy(parameters: Parameters) -> Parameters:
    return {name: parameter.detach().clone() for name, parameter in parameters.items()}


def _build(make_network: Callable[[], nn.Module]) -> nn.Module:
    """A network whose own random initialisation leaves the global generator untouched."""
    with torch.random.fork_rng(devices=[]):
        network = make_network()
    buffers = [name for name, _ in network.named_buffers()]
    if buffers:
        raise ValueError(
            f"the network has buffers {buffers}, which members would share; "
            "use layers without running statistics"
        )
    return network


def _check_names(losses, metrics, names, loss_weights, stop_when) -> None:
    if not losses:
        raise ValueError("losses is empty; give at least one {name: function(outputs, targets)}")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"each recorded quantity needs a name of its own; repeated: {repeated}")
    unknown = sorted(set(loss_weights) - set(losses))
    if unknown:
        raise ValueError(f"loss_weights names {unknown}, but the losses are {sorted(losses)}")
    if stop_when is not None and stop_when not in metrics:
        raise ValueError(f"stop_when is {stop_when!r}, but the metrics are {sorted(metrics)}")


def _progress_bar(total: int) -> tqdm:
    """A bar for a person who watches: a terminal, or a notebook that a front end has opened.

    Notebooks that a program executes (nbconvert, nbval) have no such session, so that nothing is
    stored in their outputs.
    """
    in_session = "JPY_SESSION_NAME" in os.environ or "google.colab" in sys.modules
    return tqdm(total=total, leave=False, disable=not (in_session or sys.stderr.isatty()))
