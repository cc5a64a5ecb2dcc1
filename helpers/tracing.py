"""Turn a function of tensors into a flat list of operations, and drop those that do nothing.

For small tensors, calling an operation costs more than its arithmetic. Tracing a function once
spares the dispatch of `vmap` and `grad` in every later call; simplifying the trace spares
about a third of the operations that they leave behind. Only `helpers.training` uses this module.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.func import functionalize
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.node import map_arg

ATEN = torch.ops.aten
RESHAPES = (ATEN.expand.default, ATEN.view.default, ATEN._unsafe_view.default)


def trace(function: Callable[..., Any], *arguments: Any) -> GraphModule:
    """A module that computes `function` for any arguments shaped like `arguments`.

    The function must not branch on the values of its arguments, nor draw random numbers. Tensors
    that it refers to without receiving them are constants of the result.
    """
    # Without operations in place, the value of a node never changes after it was computed.
    module = make_fx(functionalize(function, remove="mutations"))(*arguments)
    graph = module.graph
    for node in list(graph.nodes):
        if node.op == "get_attr":
            node.meta["val"] = getattr(module, node.target)
        elif _returns_its_input(node):
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
        elif _is_constant(node):
            _replace_by_value(module, node)
        elif node.target is ATEN.bmm.default and _shape(node.args[0])[2] == 1:
            node.target = ATEN.mul.Tensor  # (n, a, 1) times (n, 1, b): nothing to sum over
    graph.eliminate_dead_code()
    module.recompile()
    return module


def _shape(node: Node) -> torch.Size:
    return node.meta["val"].shape


def _returns_its_input(node: Node) -> bool:
    if node.target is ATEN.mul.Scalar:
        return node.args[1] == 1
    if node.target not in RESHAPES:
        return False
    before, after = node.args[0].meta["val"], node.meta["val"]
    return before.shape == after.shape and before.stride() == after.stride()


def _is_constant(node: Node) -> bool:
    """Whether the node's value is the same in every call."""
    if node.op != "call_function":
        return False
    if node.target is ATEN.ones_like.default:
        return True  # depends on a shape alone
    return all(source.op == "get_attr" for source in node.all_input_nodes)


def _replace_by_value(module: GraphModule, node: Node) -> None:
    if node.target is ATEN.ones_like.default:
        example = node.meta["val"]
        value = torch.ones(example.shape, dtype=example.dtype, device=example.device)
    else:
        args, kwargs = map_arg((node.args, node.kwargs), lambda source: source.meta["val"])
        value = node.target(*args, **kwargs)
    name = f"constant_{node.name}"
    module.register_buffer(name, value)
    with module.graph.inserting_before(node):
        constant = module.graph.get_attr(name)
    constant.meta["val"] = value
    node.replace_all_uses_with(constant)
    module.graph.erase_node(node)
