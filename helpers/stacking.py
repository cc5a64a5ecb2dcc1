"""Many networks of one architecture, side by side: each operation does the work of all of them.

The *members* of a stack never meet. Member m's parameters are entry m of tensors with a leading
member axis.

`AutogradStack` takes networks of `nn.Linear`, `nn.Conv2d`, `nn.BatchNorm2d` and layers without
parameters. It keeps the members in the channel axis, (n, members · channels, ...), as the groups of
a grouped convolution; so activations, pooling and flattening need no change. `HandStack` takes
networks with one hidden layer, and writes their gradient out as notebooks 02 and 03 derive it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from helpers.history import Parameters
from helpers.objectives import Objective

# Slope of an activation, given its output.
SLOPES: dict[type[nn.Module], Callable[[Tensor], Tensor]] = {
    nn.Sigmoid: lambda a: a * (1 - a),
    nn.Tanh: lambda a: 1 - a * a,
    nn.ReLU: torch.sign,  # of outputs that are never negative: 0 or 1
    nn.Identity: torch.ones_like,
}


class Stack:
    """Members side by side; subclasses compute with them.

    Attributes
    ----------
    leaves : tensors, shape (members, ...)
        What an optimiser changes, with the gradients in `.grad`.
    """

    leaves: list[Tensor]

    @property
    def members(self) -> int:
        return len(self.leaves[0])

    def keep(self, members: Tensor) -> None:
        """Go on with some members alone, with their gradients: indices, shape (kept,)."""
        for leaf in self.leaves:
            gradient, leaf.grad = leaf.grad[members], None  # else it would have to keep its shape
            leaf.data = leaf.data[members]
            leaf.grad = gradient

    def state(self) -> Parameters:
        """All that the members' outputs depend on: parameters and running statistics."""
        raise NotImplementedError

    def outputs(self, inputs: Tensor, own: bool = False, training: bool = False) -> Any:
        """Outputs of all members, shape (members, n, ...), or a tuple of such.

        Inputs have shape (n, ...), or with `own` (members, n, ...): a part for each. A single
        output has no axis of its own: (members, n).
        """
        raise NotImplementedError

    def pull_back(self, slopes: tuple[Tensor, ...]) -> None:
        """Set all gradients from the slopes of the last outputs, which were those of training."""
        raise NotImplementedError

    def differentiate(self, objective: Objective, inputs, targets, own=False) -> list[Tensor]:
        """Set each member's gradients; return the values of the objective."""
        outputs = self.outputs(inputs, own, training=True)
        several = outputs if isinstance(outputs, tuple) else (outputs,)
        self.pull_back(objective.slopes(several, targets))
        return objective.values(outputs, targets)


class HandStack(Stack):
    """One hidden layer and one output, with the gradient that notebooks 02 and 03 derive."""

    def __init__(self, network: nn.Module, parameters: Parameters):
        self.activation = hidden_layer_of(network)[1]
        self.slope = SLOPES[type(self.activation)]
        self.shapes = {name: values.shape[1:] for name, values in parameters.items()}
        theta = torch.cat([values.flatten(1) for values in parameters.values()], 1)
        theta.grad = torch.empty_like(theta)
        self.leaves = [theta]  # one row for each member: one operation for a step
        self._look()

    def _look(self) -> None:
        """Weights and gradients as views of the rows, in the shapes of the layers."""
        self.parameters, self.gradients = (
            [
                part.unflatten(1, shape)
                for part, shape in zip(
                    rows.split([shape.numel() for shape in self.shapes.values()], 1),
                    self.shapes.values(),
                    strict=True,
                )
            ]
            for rows in (self.leaves[0], self.leaves[0].grad)
        )

    def keep(self, members: Tensor) -> None:
        super().keep(members)
        self._look()

    def state(self) -> Parameters:
        return dict(zip(self.shapes, self.parameters, strict=True))

    def outputs(self, inputs: Tensor, own: bool = False, training: bool = False) -> Tensor:
        W, b, v, c = self.parameters  # (m, h, d), (m, h), (m, 1, h), (m, 1)
        if own:
            x = inputs.flatten(2)  # (m, n, d)
            z = torch.baddbmm(b[:, :, None], W, x.mT)
        else:
            x = inputs.flatten(1)  # (n, d): one product for all members
            z = torch.addmm(b.reshape(-1, 1), W.flatten(0, 1), x.T).view(*b.shape, len(x))
        a = self.activation(z)  # (m, h, n)
        self.last = x, a
        return (a * v.mT).sum(1).add_(c)

    def pull_back(self, slopes: tuple[Tensor, ...]) -> None:
        dW, db, dv, dc = self.gradients
        v = self.parameters[2].mT  # (m, h, 1)
        x, a = self.last
        du = slopes[0][:, None]  # (m, 1, n)
        torch.sum(a * du, 2, out=dv[:, 0])
        torch.sum(du, 2, out=dc)
        dz = self.slope(a).mul_(v).mul_(du)  # (m, h, n)
        torch.sum(dz, 2, out=db)
        dW.copy_(torch.bmm(dz, x) if x.dim() == 3 else (dz.flatten(0, 1) @ x).view_as(dW))


class AutogradStack(Stack):
    """Any network of the supported layers; PyTorch differentiates it."""

    def __init__(self, network: nn.Module, parameters: Parameters):
        self.network = _stacked(copy.deepcopy(network), "network", parameters)
        self.leaves = list(self.network.parameters())

    def keep(self, members: Tensor) -> None:
        self.last = ()  # else the next graph would take over nodes that expect all members
        super().keep(members)
        for module in self.network.modules():
            for name, buffer in module.named_buffers(recurse=False):
                setattr(module, name, buffer[members])

    def state(self) -> Parameters:
        return self.network.state_dict()

    def outputs(self, inputs: Tensor, own: bool = False, training: bool = False) -> Any:
        if own:
            inputs = inputs.transpose(0, 1).flatten(1, 2)  # (n, members · channels, ...)
        if self.network.training != training:
            self.network.train(training)
        with torch.set_grad_enabled(training):
            found = self.network(inputs)
            several = found if isinstance(found, tuple) else (found,)
            self.last = tuple(self._members_first(output) for output in several)
        outputs = tuple(output.detach() for output in self.last)
        return outputs if isinstance(found, tuple) else outputs[0]

    def _members_first(self, outputs: Tensor) -> Tensor:
        """(n, members · outputs) -> (members, n, outputs), or (members, n) of a single output."""
        if outputs.numel() == len(outputs) * self.members:
            return outputs.reshape(len(outputs), self.members).T
        return outputs.reshape(len(outputs), self.members, -1).transpose(0, 1)

    def pull_back(self, slopes: tuple[Tensor, ...]) -> None:
        gradients = torch.autograd.grad(self.last, self.leaves, slopes)
        for leaf, gradient in zip(self.leaves, gradients, strict=True):
            leaf.grad = gradient


OPTIONS = ("stride", "padding", "dilation")  # of a convolution


class StackedLinear(nn.Module):
    """`nn.Linear` of all members: (n, inputs or members · inputs) -> (n, members · outputs)."""

    def __init__(self, weight: Tensor, bias: Tensor | None):
        super().__init__()
        self.weight = nn.Parameter(weight.clone())  # (members, outputs, inputs)
        self.bias = None if bias is None else nn.Parameter(bias.clone())  # (members, outputs)

    def forward(self, x: Tensor) -> Tensor:
        members, outputs, inputs = self.weight.shape
        if x.shape[1] == inputs:  # shared, or of a single member: one product
            bias = None if self.bias is None else self.bias.flatten()
            return F.linear(x, self.weight.flatten(0, 1), bias)
        x = x.view(len(x), members, inputs).transpose(0, 1).contiguous()  # (members, n, inputs)
        if outputs == 1:  # a sum of products is faster than many small matrix products
            z = (x * self.weight).sum(2, keepdim=True)
        else:
            z = torch.bmm(x, self.weight.mT)  # (members, n, outputs)
        z = z if self.bias is None else z + self.bias[:, None]
        return z.transpose(0, 1).flatten(1)


class StackedConv2d(nn.Module):
    """`nn.Conv2d` of every member: (n, channels or members · channels, h, w) -> the same kind."""

    def __init__(self, layer: nn.Conv2d, weight: Tensor, bias: Tensor | None):
        super().__init__()
        self.weight = nn.Parameter(weight.clone())  # (members, out channels, in channels, k, k)
        self.bias = None if bias is None else nn.Parameter(bias.clone())
        self.options = {name: getattr(layer, name) for name in OPTIONS}

    def forward(self, x: Tensor) -> Tensor:
        members, _, channels, *window = self.weight.shape
        bias = None if self.bias is None else self.bias.flatten()
        if members > 1 and x.shape[1] == channels:
            # Shared: one product for all members, its result in the memory format channels_last.
            patches = F.unfold(x, window, **self.options).mT.flatten(
                0, 1
            )  # (n · places, c · k · k)
            z = F.linear(patches, self.weight.flatten(2).flatten(0, 1), bias)
            return z.view(len(x), *self._places(x), -1).movedim(3, 1)
        weight = self.weight.flatten(0, 1)
        return F.conv2d(x, weight, bias, groups=x.shape[1] // channels, **self.options)

    def _places(self, x: Tensor) -> tuple[int, int]:
        """Height and width of the output."""
        sizes = zip(
            x.shape[2:], self.weight.shape[3:], *(self.options[o] for o in OPTIONS), strict=True
        )
        return tuple((s + 2 * p - d * (k - 1) - 1) // t + 1 for s, k, t, p, d in sizes)


class StackedBatchNorm2d(nn.Module):
    """`nn.BatchNorm2d` of every member: (n, members · channels, h, w) -> the same shape."""

    def __init__(self, layer: nn.BatchNorm2d, parameters: Parameters):
        super().__init__()
        self.weight, self.bias = (nn.Parameter(parameters[k].clone()) for k in ("weight", "bias"))
        for name in ("running_mean", "running_var"):  # (members, channels)
            self.register_buffer(name, parameters[name].clone())
        self.momentum, self.eps = layer.momentum, layer.eps

    def forward(self, x: Tensor) -> Tensor:
        # Views: in training, PyTorch updates the running statistics through them.
        state = (t.view(-1) for t in (self.running_mean, self.running_var, self.weight, self.bias))
        return F.batch_norm(x, *state, self.training, self.momentum, self.eps)


def _stacked(module: nn.Module, name: str, parameters: Parameters) -> nn.Module:
    """The module with each layer replaced by that of all members; containers stay as they are."""
    own = {key.rpartition(".")[2] for key in parameters if key.count(".") == 0}
    if isinstance(module, nn.Linear):
        return StackedLinear(parameters["weight"], parameters.get("bias"))
    if isinstance(module, nn.Conv2d) and module.groups == 1 and module.padding_mode == "zeros":
        return StackedConv2d(module, parameters["weight"], parameters.get("bias"))
    if isinstance(module, nn.BatchNorm2d) and module.affine and module.track_running_stats:
        return StackedBatchNorm2d(module, parameters)
    if own or isinstance(module, nn.modules.dropout._DropoutNd):
        raise ValueError(
            f"{name} is a layer of type {type(module).__name__}, which can't be trained as one of "
            "many; expected nn.Linear, nn.Conv2d (one group, padded with zeros), nn.BatchNorm2d "
            "and layers without parameters or random numbers. Train such a network by a plain "
            "loop, one seed after the other."
        )
    for child, layer in module.named_children():
        below = {k[len(child) + 1 :]: v for k, v in parameters.items() if k.startswith(f"{child}.")}
        setattr(module, child, _stacked(layer, f"{name}.{child}", below))
    return module


def hidden_layer_of(network: nn.Module) -> tuple[nn.Linear, nn.Module, nn.Linear] | None:
    """The layers of an `nn.Sequential` with one hidden layer and one output, else None."""
    layers = list(network) if isinstance(network, nn.Sequential) else []
    if layers and isinstance(layers[0], nn.Flatten) and layers[0].start_dim == 1:
        layers = layers[1:]
    kinds = [type(layer) for layer in layers]
    if len(kinds) != 3 or kinds[::2] != [nn.Linear] * 2 or kinds[1] not in SLOPES:
        return None
    fits = layers[2].out_features == 1 and None not in (layers[0].bias, layers[2].bias)
    return tuple(layers) if fits else None


def stack(network: nn.Module, state: Parameters, sample: Tensor, own: bool = False) -> Stack:
    """Members with the architecture of `network` and the parameters (and buffers) `state`.

    Parameters
    ----------
    network : nn.Module
    state : name -> tensor, shape (members, ...)
    sample : tensor
        A few inputs, shape (n, ...), or `own` ones, (members, n, ...). On them the members are
        compared with the network itself.

    Raises
    ------
    ValueError
        For a layer that can't be stacked, and for a network that computes something else when it is
        stacked, since one of its operations mixes channels.
    """
    kind = HandStack if hidden_layer_of(network) else AutogradStack
    built = kind(network, state)
    last = {name: values[-1] for name, values in state.items()}
    with torch.no_grad():
        found = built.outputs(sample, own)
        expected = functional_call(network.eval(), last, (sample[-1] if own else sample,))
    pairs = zip(*((t if isinstance(t, tuple) else (t,)) for t in (found, expected)), strict=True)
    for mine, theirs in pairs:
        if not torch.allclose(mine[-1].flatten(), theirs.flatten(), rtol=1e-3, atol=1e-4):
            raise ValueError(
                f"the network {type(network).__name__} computes something else when it is stacked "
                "with others: expected an output like "
                f"{theirs.flatten()[:3].tolist()}, found {mine[-1].flatten()[:3].tolist()}. Its "
                "forward must treat channels apart between its layers (no softmax over an axis, no "
                "reshaping but flatten(1)) and return (n, outputs); what mixes them belongs in the "
                "loss."
            )
    return built
