"""Many networks of one architecture, side by side: each operation does the work of all of them.

The *members* of a stack never meet. Member m's parameters are entry m of tensors with a leading
member axis. `HandStack` takes fully connected networks, and writes their gradient out as notebooks
02 and 03 derive it. `AutogradStack` takes networks of `nn.Linear`, `nn.Conv2d`, `nn.BatchNorm2d`
and layers without parameters. It keeps the members in the channel axis, (n, members · channels,
...), as the groups of a grouped convolution, so that activations, pooling and flattening need no
change.

In both, `leaves`, tensors (members, ...), are what an optimiser changes, and `state()` is all that
outputs depend on. `outputs(inputs, own, training)` gives a tuple of the outputs of all members,
(members, n, ...); a single number has no axis of its own: (members, n). Inputs have shape (n, ...),
or if they are each member's `own`, (members, n, ...). `pull_back(slopes)` sets the leaves'
gradients, given the slopes of the last outputs in training.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from helpers.history import Parameters
from helpers.objectives import as_tuple

SLOPES: dict[type[nn.Module], Callable[[Tensor], Tensor]] = {  # of activations, given their outputs
    nn.Sigmoid: lambda a: torch.addcmul(a, a, a, value=-1),  # a (1 - a)
    nn.Tanh: lambda a: 1 - a * a,
    nn.ReLU: torch.sign,  # of numbers that are never negative: 0 or 1
    nn.Identity: torch.ones_like,
}


class HandStack:
    """Fully connected networks. Values have shape (members, units, n): samples come last."""

    def __init__(self, network: nn.Module, parameters: Parameters):
        self.activations = [*dense_layers_of(network)[1::2], nn.Identity()]
        self.names = list(parameters)
        self.leaves = [values.clone() for values in parameters.values()]
        for leaf in self.leaves:
            leaf.grad = torch.empty_like(leaf)

    def state(self) -> Parameters:
        return dict(zip(self.names, self.leaves, strict=True))

    def outputs(self, inputs: Tensor, own: bool = False, training: bool = False) -> tuple:
        a = inputs.flatten(2 if own else 1).mT  # (members, d, n) or (d, n)
        self.values = []
        layers = zip(self.leaves[::2], self.leaves[1::2], self.activations, strict=True)
        for W, b, activation in layers:  # (members, units, inputs), (members, units)
            self.values.append(a)
            if a.dim() == 2:  # shared: one product for all members
                z = torch.addmm(b.view(-1, 1), W.flatten(0, 1), a).view(*b.shape, -1)
            elif W.shape[1] == 1:  # one unit: a sum of products is faster than many small ones
                z = (a * W.mT).sum(1, keepdim=True).add_(b[:, :, None])
            else:
                z = torch.baddbmm(b[:, :, None], W, a)
            a = activation(z)
        return (a[:, 0] if a.shape[1] == 1 else a.mT,)

    def pull_back(self, slopes: tuple[Tensor, ...]) -> None:
        dz = slopes[0][:, None] if slopes[0].dim() == 2 else slopes[0].mT  # (members, units, n)
        for i in reversed(range(len(self.values))):
            W, b, a = self.leaves[2 * i], self.leaves[2 * i + 1], self.values[i]
            torch.sum(dz, 2, out=b.grad)
            if a.dim() == 2:
                torch.mm(dz.flatten(0, 1), a.T, out=W.grad.flatten(0, 1))
            elif W.shape[1] == 1:
                torch.sum(a * dz, 2, out=W.grad[:, 0])
            else:
                torch.bmm(dz, a.mT, out=W.grad)
            if i:
                slope = SLOPES[type(self.activations[i - 1])](a)
                if W.shape[1] == 1:
                    dz = slope.mul_(dz).mul_(W.mT)
                else:
                    dz = slope.mul_(torch.bmm(W.mT, dz))


class AutogradStack:
    """Any network of the supported layers; PyTorch differentiates it."""

    def __init__(self, network: nn.Module, parameters: Parameters):
        self.network, self.names = copy.deepcopy(network).train(), list(parameters)
        _stack_layers(self.network, parameters)
        self.leaves = list(self.network.parameters())

    def state(self) -> Parameters:
        state = self.network.state_dict()
        return {name: state[name] for name in self.names}

    def outputs(self, inputs: Tensor, own: bool = False, training: bool = False) -> tuple:
        if own:
            inputs = inputs.transpose(0, 1).flatten(1, 2)  # (n, members · channels, ...)
        if self.network.training != training:
            self.network.train(training)
        with torch.set_grad_enabled(training):
            self.last = tuple(map(self._members_first, as_tuple(self.network(inputs))))
        return tuple(output.detach() for output in self.last)

    def _members_first(self, outputs: Tensor) -> Tensor:
        """(n, members · outputs) -> (members, n, outputs), or (members, n) of a single number."""
        apart = outputs.reshape(len(outputs), len(self.leaves[0]), -1)
        return apart[:, :, 0].T if apart.shape[2] == 1 else apart.transpose(0, 1)

    def pull_back(self, slopes: tuple[Tensor, ...]) -> None:
        gradients = torch.autograd.grad(self.last, self.leaves, slopes)
        for leaf, gradient in zip(self.leaves, gradients, strict=True):
            leaf.grad = gradient.contiguous()  # as the leaf: fused optimisers read memory in order


def _stack_layers(network: nn.Module, state: Parameters) -> None:
    """Give each layer, in place, the parameters of all members, and the function that uses them."""
    for name, layer in network.named_modules():
        own = {key.rpartition(".")[2]: key for key in state if key.rpartition(".")[0] == name}
        if not own and "Dropout" not in type(layer).__name__:
            continue
        if not (function := _function_of(layer)):
            raise ValueError(
                f"{f'network.{name}'.rstrip('.')} is a layer of type {type(layer).__name__}, which "
                "can't be trained as one of many; expected nn.Linear, nn.Conv2d (one group, padded "
                "with zeros), nn.BatchNorm2d and layers without parameters or random numbers. "
                "Train such a network by a plain loop, one seed after the other."
            )
        for attribute, key in own.items():
            is_parameter = isinstance(getattr(layer, attribute), nn.Parameter)
            values = state[key].clone()
            setattr(layer, attribute, nn.Parameter(values) if is_parameter else values)
        layer.forward = partial(function, layer)


def _function_of(layer: nn.Module) -> Callable | None:
    """What a layer of all members computes, None if that is not known."""
    if type(layer) is nn.Linear:
        return _linear
    if type(layer) is nn.Conv2d and layer.groups == 1 and layer.padding_mode == "zeros":
        return _conv2d
    if type(layer) is nn.BatchNorm2d and layer.affine and layer.track_running_stats:
        return _batch_norm


def _linear(layer: nn.Linear, x: Tensor) -> Tensor:
    """(n, inputs or members · inputs) -> (n, members · outputs)."""
    members, outputs, inputs = layer.weight.shape
    bias = None if layer.bias is None else layer.bias.flatten()
    if x.shape[1] == inputs:  # shared, or of a single member: one product
        return F.linear(x, layer.weight.flatten(0, 1), bias)
    x = x.view(len(x), members, inputs)
    if outputs == 1:  # a sum of products is faster than many small ones
        z = (x * layer.weight[:, 0]).sum(2)
    else:  # x is not copied
        z = torch.bmm(layer.weight, x.permute(1, 2, 0)).permute(2, 0, 1).flatten(1)
    return z if bias is None else z + bias


def _conv2d(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """(n, channels or members · channels, h, w) -> (n, members · outputs, h, w)."""
    weight, bias = layer.weight.flatten(0, 1), None if layer.bias is None else layer.bias.flatten()
    groups = x.shape[1] // weight.shape[1]  # 1 where the input is shared
    return F.conv2d(x, weight, bias, layer.stride, layer.padding, layer.dilation, groups)


def _batch_norm(layer: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """(n, members · channels, h, w) -> the same shape."""
    # Views: in training, PyTorch updates the running statistics through them.
    tensors = layer.running_mean, layer.running_var, layer.weight, layer.bias
    state = (tensor.view(-1) for tensor in tensors)
    return F.batch_norm(x, *state, layer.training, layer.momentum, layer.eps)


def dense_layers_of(network: nn.Module) -> list[nn.Module] | None:
    """Linear layers and the activations between them, if an `nn.Sequential` has nothing else."""
    layers = list(network) if isinstance(network, nn.Sequential) else []
    if layers and isinstance(layers[0], nn.Flatten) and layers[0].start_dim == 1:
        layers = layers[1:]
    linear, between = layers[::2], layers[1::2]
    known = all(isinstance(layer, nn.Linear) and layer.bias is not None for layer in linear)
    known = known and all(type(layer) in SLOPES for layer in between)
    return layers if known and len(linear) == len(between) + 1 > 1 else None


def stack(network: nn.Module, state: Parameters, sample: Tensor) -> HandStack | AutogradStack:
    """Members with the architecture of `network` and the parameters and statistics `state`.

    On a few inputs, `sample`, shape (n, ...), the last member is compared with the network itself.
    ValueError for a layer that can't be stacked, and if the network computes something else when it
    is stacked, since one of its operations mixes channels.
    """
    built = (HandStack if dense_layers_of(network) else AutogradStack)(network, state)
    last = {name: values[-1] for name, values in state.items()}
    with torch.no_grad():
        outputs = functional_call(network.eval(), last, (sample,))
        expected = torch.cat([output.flatten() for output in as_tuple(outputs)])
        found = torch.cat([output[-1].flatten() for output in built.outputs(sample)])
    if not torch.allclose(found, expected, rtol=1e-3, atol=1e-4):
        raise ValueError(
            f"the network {type(network).__name__} computes something else when it is stacked with "
            f"others: expected outputs that begin with {expected[:3].tolist()}, found "
            f"{found[:3].tolist()}. Between its layers it must treat channels apart (no softmax, "
            "no reshaping but flatten(1)) and return (n, outputs); what mixes them is for the loss."
        )
    return built
