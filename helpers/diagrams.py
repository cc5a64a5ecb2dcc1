"""Diagrams: a network of layers and units, and the graph of a computation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from graphlib import TopologicalSorter
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch

from helpers.plotting import COLORS

POSITIVE, NEGATIVE = COLORS[:2]
ABOVE, BELOW = COLORS[0], COLORS[1]  # values and gradients
GAP = 0.5  # between two layers' titles and their outermost units


def draw_network(
    axes: Axes,
    sizes: Sequence[int],
    *,
    weights: Sequence[np.ndarray] | None = None,
    values: Sequence[Sequence[float | str]] | None = None,
    titles: Sequence[str] | None = None,
    most: int = 8,
) -> None:
    """Draw the units of a fully connected network, layer by layer, and its weights.

    `sizes` are the units of each layer, inputs first. `weights`, (units, units before) for each
    layer after the first, show their sign by colour and line (negative: dashed) and their size by
    width. `values`, numbers or texts for each layer, are written into its units, `titles` above the
    layers. Of more than `most` units the first and the last are drawn, around an ellipsis.
    Raises ValueError if weights, values or titles don't fit the sizes.
    """
    expected = [(after, before) for before, after in pairwise(sizes)]
    found = expected if weights is None else [np.shape(w) for w in weights]
    if found != expected:
        raise ValueError(f"weights have shapes {found}; sizes {tuple(sizes)} need {expected}")
    if values is not None and [len(v) for v in values] != list(sizes):
        raise ValueError(f"expected {tuple(sizes)} values, found {[len(v) for v in values]}")
    if titles is not None and len(titles) != len(sizes):
        raise ValueError(f"{len(titles)} titles for {len(sizes)} layers")
    layers = [_places(size, most) for size in sizes]  # unit -> height
    largest = max((np.abs(w).max() for w in weights or ()), default=0) or 1
    for i, (before, after) in enumerate(pairwise(layers)):
        for k, high in after.items():
            for j, low in before.items():
                weight = 0 if weights is None else weights[i][k][j]
                look = {"color": "0.7", "linewidth": 0.8, "linestyle": "-"}
                if weights is not None:
                    look |= {"color": POSITIVE, "linewidth": 5 * abs(weight) / largest}
                if weight < 0:  # not at 0: matplotlib 3.10 refuses dashes without a width
                    look |= {"color": NEGATIVE, "linestyle": (0, (3, 1))}
                axes.plot([i, i + 1], [low, high], **look, zorder=1)
    top = max(max(layer.values()) for layer in layers) + GAP
    rows = 2 * top + 2 * GAP
    room = 72 * axes.figure.get_figheight() * axes.get_position().height / rows  # points per row
    for i, (layer, size) in enumerate(zip(layers, sizes, strict=True)):
        for unit, height in layer.items():
            axes.plot(
                i,
                height,
                "o",
                color="white",
                markeredgecolor="black",
                markersize=min(28, 0.85 * room),
            )
            value = "" if values is None else values[i][unit]
            text = value if isinstance(value, str) else f"{value:z.2g}".replace("-", "−")
            axes.text(i, height, text, ha="center", va="center", fontsize=min(9, 0.3 * room))
        if len(layer) < size:
            axes.text(i, 0, "⋮", ha="center", va="center", fontsize=18)
        if titles is not None:
            axes.text(i, top + 0.1, titles[i], ha="center", va="bottom")
    axes.set(xlim=(-0.4, len(sizes) - 0.6), ylim=(-top, top + 2 * GAP))
    axes.axis("off")


def _places(size: int, most: int) -> dict[int, float]:
    """Unit -> height of the units that are drawn, around 0; an ellipsis takes one place."""
    half = most // 2
    units = [*range(size)] if size <= most else [*range(half), *range(size - half, size)]
    rows = [*range(size)] if size <= most else [*range(half), *range(half + 1, 2 * half + 1)]
    return {unit: rows[-1] / 2 - row for unit, row in zip(units, rows, strict=True)}


def draw_graph(
    axes: Axes,
    graph: Mapping[str, Sequence[str]],
    *,
    values: Mapping[str, float] | None = None,
    gradients: Mapping[str, float] | None = None,
) -> None:
    """Draw a computation from left to right, values above its nodes and gradients below.

    `graph` maps each node, a text, to the nodes that it is computed from, () for an input; the
    order of the mapping is free. Raises ValueError for an operand that is no node, or a cycle.
    """
    places = _columns_and_rows(graph)
    boxes = {}
    for node, place in places.items():
        look = {"boxstyle": "round,pad=0.45", "facecolor": "white" if graph[node] else "0.92"}
        text = axes.text(*place, node, ha="center", va="center", bbox=look, zorder=2)
        boxes[node] = text.get_bbox_patch()
        for numbers, color, side in ((values, ABOVE, 1), (gradients, BELOW, -1)):
            if numbers and node in numbers:
                number = f"{numbers[node]:z.3g}".replace("-", "−")
                where = {"xytext": (0, 15 * side), "textcoords": "offset points", "color": color}
                va = "bottom" if side > 0 else "top"
                axes.annotate(number, place, ha="center", va=va, fontsize=10, **where)
    for node, operands in graph.items():
        for operand in operands:
            ends = {"patchA": boxes[operand], "patchB": boxes[node], "shrinkA": 2, "shrinkB": 2}
            arrow = {"arrowstyle": "-|>", "mutation_scale": 12, "color": "0.4", "zorder": 3}
            axes.add_patch(FancyArrowPatch(places[operand], places[node], **ends, **arrow))
    columns, rows = zip(*places.values(), strict=True)
    axes.set(xlim=(-0.5, max(columns) + 0.5), ylim=(min(rows) - 0.6, max(rows) + 0.6))
    axes.axis("off")


def _columns_and_rows(graph: Mapping[str, Sequence[str]]) -> dict[str, tuple[float, float]]:
    """Where each node lies: right of its operands, an input just left of what it is used for."""
    if unknown := {o for operands in graph.values() for o in operands} - set(graph):
        raise ValueError(f"{sorted(unknown)} are operands and no nodes; nodes: {list(graph)}")
    column: dict[str, int] = {}
    for node in TopologicalSorter(graph).static_order():
        column[node] = 1 + max((column[operand] for operand in graph[node]), default=-1)
    used = {o: [column[n] for n in graph if o in graph[n]] for o in graph}
    column = {n: min(used[n]) - 1 if used[n] and not graph[n] else c for n, c in column.items()}
    layers = [[n for n in graph if column[n] == c] for c in range(max(column.values()) + 1)]
    return {
        node: (c, (len(layer) - 1) / 2 - row)
        for c, layer in enumerate(layers)
        for row, node in enumerate(layer)
    }
