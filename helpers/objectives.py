"""Losses and metrics of many networks at once.

Each is a function of the outputs of all members, shape (members, n, ...), and of targets of the
same shape. It returns one number per sample, (members, n), whose mean over the samples counts; or
one per member, (members,). A network's single output has no axis of its own: (members, n).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Function = Callable[[Any, Any], Tensor]


def binary_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Minus the logarithm of the probability given to each label; labels in {0, 1}.

    As in PyTorch max(u, 0) - y u + ln(1 + exp(-|u|)), which doesn't overflow. The last term is
    -ln σ(|u|) here: log1p alone would take longer than a small network.
    """
    linear = torch.addcmul(torch.relu(logits), labels, logits, value=-1)
    return linear - torch.log(torch.sigmoid(logits.abs()))


def squared_error(logits: Tensor, labels: Tensor) -> Tensor:
    """Squared difference between sigmoid output and label."""
    return (torch.sigmoid(logits) - labels) ** 2


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy after a softmax; logits (members, n, classes), labels (members, n) of ints."""
    return F.cross_entropy(logits.movedim(2, 1), labels, reduction="none")


def binary_accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Whether each logit has the sign of its label; labels in {0, 1}."""
    return (logits > 0) == (labels > 0.5)


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Whether the highest logit is the label's; logits (members, n, classes)."""
    return logits.argmax(2) == labels


def _squared_error_slope(logits: Tensor, labels: Tensor) -> Tensor:
    p = torch.sigmoid(logits)
    return 2 * (p - labels) * p * (1 - p)


def _cross_entropy_slope(logits: Tensor, labels: Tensor) -> Tensor:
    slope = torch.softmax(logits, 2)
    return slope.scatter_add_(2, labels[..., None], -torch.ones_like(slope[..., :1]))


SLOPES = {  # derivative of one sample's loss with respect to its outputs, as 02 and 07 derive it
    binary_cross_entropy: lambda logits, labels: torch.sigmoid(logits) - labels,
    squared_error: _squared_error_slope,
    cross_entropy: _cross_entropy_slope,
}


def values_of(functions: Iterable[Function], outputs: tuple, targets: tuple) -> Tensor:
    """What losses and metrics say of each member, shape (functions, members).

    Outputs and targets come as tuples; a function gets a tuple only of several.
    """
    return torch.stack([_per_member(function, outputs, targets) for function in functions])


def slopes_of(losses: Sequence[tuple[Function, float]], outputs: tuple, targets: tuple) -> tuple:
    """Derivatives of each member's sum of losses, each with its weight, by its outputs."""
    loss, weight = losses[0]
    if len(losses) == 1 and loss in SLOPES:
        return (SLOPES[loss](outputs[0], targets[0]).mul_(weight / outputs[0].shape[1]),)
    with torch.enable_grad():
        leaves = tuple(output.detach().requires_grad_() for output in outputs)
        total = sum(w * _per_member(f, leaves, targets).sum() for f, w in losses)
        return torch.autograd.grad(total, leaves)


def as_tuple(values: Any) -> tuple:
    """One tensor or a tuple of them, as a tuple; `alone` is the inverse."""
    return values if isinstance(values, tuple) else (values,)


def alone(values: tuple) -> Any:
    return values[0] if len(values) == 1 else values


def _per_member(function: Function, outputs: tuple, targets: tuple) -> Tensor:
    """What a loss or metric says of each member, (members,): the mean, if it is of each sample."""
    values = function(alone(outputs), alone(targets))
    return values if values.dim() == 1 else values.sum(1) / values.shape[1]
