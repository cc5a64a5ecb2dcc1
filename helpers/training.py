"""Initialise and train: many seeds of one small network at once, each with its own history.

An *ensemble* is the same architecture started from several seeds. Its parameters are stacked along
a leading *member* axis, so that one tensor operation advances every member. Members never
interact: each has its own loss, its own gradient and its own row in the `History`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from helpers.history import History, Parameters, Recorder
from helpers.progress import progress_bar
from helpers.tracing import trace

Objective = Callable[[Any, Any], Tensor]
Initializer = Callable[[nn.Module, torch.Generator], None]

GRADIENT_NORM = "gradient_norm"


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
        recorder = Recorder(names, len(losses), stop_when, parameters, max_iterations, snapshots_at)
        begin = time.perf_counter()
        with progress_bar(max_iterations) as progress:
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
