"""The figures that recur: curves of an ensemble, image grids, decision regions, iterations.

Every function draws into axes that it is given, so that a notebook decides on the layout.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import cycle

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from helpers.history import History

# Okabe and Ito's eight colours, told apart with any common colour vision; yellow, too pale for
# lines on white, comes last.
OKABE_ITO = {
    "blue": "#0072B2",
    "vermillion": "#D55E00",
    "green": "#009E73",
    "purple": "#CC79A7",
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "black": "#000000",
    "yellow": "#F0E442",
}
COLORS = tuple(OKABE_ITO.values())
LINE_STYLES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (8, 3)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
CLASS_COLORS = (OKABE_ITO["blue"], OKABE_ITO["vermillion"])
# The class colours on white, dark enough at the ends to see and pale enough for points on top.
CLASS_MAP = LinearSegmentedColormap.from_list("classes", ["#8fbfdc", "#ffffff", "#efb48a"])


def use_style() -> None:
    """Set the one style of all figures; call it once, after the imports."""
    mpl.rcParams.update(
        {
            "figure.dpi": 80,
            "figure.figsize": (8, 4),
            "figure.constrained_layout.use": True,
            "font.size": 11,
            "axes.titlesize": 12,
            "axes.grid": True,
            "grid.alpha": 0.3,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.prop_cycle": cycler(color=COLORS) + cycler(linestyle=LINE_STYLES),
            "image.cmap": "viridis",
            "legend.frameon": False,
        }
    )


def plot_ensemble_curves(
    axes: Axes,
    curves: History | np.ndarray,
    name: str | None = None,
    *,
    label: str,
    color: str = COLORS[0],
    line_style="-",
    example: int | None = 0,
    x: np.ndarray | None = None,
) -> None:
    """Draw the median of an ensemble's curves, the band between its quartiles and one member.

    Parameters
    ----------
    curves : History, or array of shape (members, points)
    name : the curve of the History to draw
    example : the member drawn as a thin line, or None
    x : array, shape (points,), default 0, 1, 2, …
        Iterations, epochs or whatever the points stand for.
    """
    values = curves.curve(name) if isinstance(curves, History) else np.asarray(curves)
    x = np.arange(values.shape[1]) if x is None else np.asarray(x)
    # A diverged member is left out from then on; where all are, so is the curve.
    defined = ~np.isnan(values).all(0)
    low, median, high = np.nanquantile(values[:, defined], (0.25, 0.5, 0.75), axis=0)
    axes.fill_between(x[defined], low, high, color=color, alpha=0.2, linewidth=0)
    axes.plot(x[defined], median, color=color, linestyle=line_style, linewidth=2, label=label)
    if example is not None:
        axes.plot(x, values[example], color=color, linestyle=line_style, linewidth=0.8, alpha=0.6)


def mark_reports(axes: Axes, figures: Mapping[str, float], y: float | Sequence[float]) -> None:
    """Put a marker with its name where a report's figure lies; `figures` maps names to x."""
    heights = np.broadcast_to(np.asarray(y, dtype=float), (len(figures),))
    for (name, x), height, marker in zip(figures.items(), heights, cycle(MARKERS), strict=False):
        axes.plot(
            x, height, marker, color="black", markerfacecolor="white", markersize=8, label=name,
            linestyle="none", zorder=5, clip_on=False,
        )  # fmt: skip


def plot_image_grid(
    images: np.ndarray,
    titles: Sequence[str] | None = None,
    *,
    columns: int = 8,
    size: float = 1.1,
    value_range: tuple[float, float] = (0.0, 1.0),
    cmap: str = "gray",
    suptitle: str | None = None,
) -> Figure:
    """A figure with one small image per cell; `images` has shape (n, height, width).

    `size` is the width of a cell in inches, `value_range` what is black and white in all of them.
    Raises ValueError if there is no image or the number of titles differs.
    """
    images = np.asarray(images)
    if images.ndim != 3 or len(images) == 0:
        raise ValueError(f"images has shape {images.shape}; expected (n, height, width), n ≥ 1")
    if titles is not None and len(titles) != len(images):
        raise ValueError(f"{len(titles)} titles for {len(images)} images")
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    height = size * (1.0 if titles is None else 1.25)
    figure, grid = plt.subplots(
        rows, columns, figsize=(columns * size, rows * height + 0.4 * bool(suptitle)), squeeze=False
    )
    for index, axes in enumerate(grid.flat):
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(index < len(images))
        axes.spines[:].set(color="0.6", linewidth=0.8)  # where a white image ends
        if index < len(images):
            low, high = value_range
            axes.imshow(images[index], cmap=cmap, vmin=low, vmax=high, interpolation="nearest")
            if titles is not None:
                axes.set_title(titles[index], fontsize=9, pad=2)
    if suptitle:
        figure.suptitle(suptitle)
    return figure


def plot_decision_region(
    axes: Axes,
    probability: Callable[[np.ndarray], np.ndarray],
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    *,
    points: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    resolution: int = 200,
) -> None:
    """Shade a plane by a classifier's probability of class 1 and draw where it is one half.

    Parameters
    ----------
    probability : function of an array (n, 2) that returns an array (n,) with values in [0, 1]
    points, labels : arrays, shapes (n, 2) and (n,), labels in {0, 1}
        Drawn on top: circles for class 0, squares for class 1.
    resolution : number of points per axis at which `probability` is evaluated
    """
    x, y = np.meshgrid(np.linspace(*x_range, resolution), np.linspace(*y_range, resolution))
    values = np.asarray(probability(np.column_stack([x.ravel(), y.ravel()]))).reshape(x.shape)
    axes.pcolormesh(x, y, values, cmap=CLASS_MAP, vmin=0, vmax=1, shading="auto", rasterized=True)
    if values.min() < 0.5 < values.max():
        axes.contour(x, y, values, levels=[0.5], colors="black", linewidths=1.5)
    if points is not None:
        plot_classes(axes, points, labels)
    axes.set(xlim=x_range, ylim=y_range, aspect="equal")
    axes.grid(False)


def plot_classes(axes: Axes, points: np.ndarray, labels: np.ndarray) -> None:
    """Scatter points of shape (n, 2): circles for class 0, squares for class 1."""
    for value, marker in enumerate("os"):
        chosen = np.asarray(points)[np.asarray(labels) == value]
        axes.scatter(
            chosen[:, 0], chosen[:, 1], s=70, marker=marker, color=CLASS_COLORS[value],
            edgecolor="black", zorder=3, label=f"class {value}",
        )  # fmt: skip


def plot_iterations(
    axes: Axes,
    solved_at: Mapping[str, np.ndarray],
    *,
    limit: int,
    reports: Mapping[str, Mapping[str, float]] | None = None,
) -> None:
    """One row per setting: each member's iterations to the goal, their quartiles, and the reports'.

    Parameters
    ----------
    solved_at : setting -> array, shape (members,)
        Infinite for members that were not solved; they are drawn behind the dotted limit.
    limit : the largest number of iterations
    reports : report -> {setting: its figure}
    """
    settings = list(solved_at)
    beyond = limit * 1.35
    for row, values in enumerate(solved_at.values()):
        heights = row + 0.5 * (np.arange(len(values)) / max(1, len(values) - 1) - 0.5)
        shown = np.where(np.isfinite(values), np.maximum(values, 1), beyond)
        color = COLORS[row % len(COLORS)]
        axes.plot(shown, heights, ".", color=color, alpha=0.5, markersize=5)
        low, median, high = np.quantile(shown, (0.25, 0.5, 0.75), method="inverted_cdf")
        axes.plot([low, high], [row, row], color="black", linestyle="-", linewidth=3)
        axes.plot([median], [row], "|", color="black", markersize=16, markeredgewidth=3)
        share = f"{np.isfinite(values).sum()}/{len(values)} solved"
        place = {"xycoords": ("axes fraction", "data"), "va": "center", "fontsize": 9}
        axes.annotate(share, (1.01, row), **place)
    for (report, figures), marker in zip((reports or {}).items(), cycle(MARKERS[1:]), strict=False):
        axes.plot(
            list(figures.values()), [settings.index(s) for s in figures], marker, color="black",
            markerfacecolor="white", markersize=9, linestyle="none", label=report, zorder=5,
        )  # fmt: skip
    axes.axvline(limit, color="0.4", linestyle=":", linewidth=1)
    axes.set(xscale="log", xlabel="iterations", yticks=range(len(settings)), yticklabels=settings)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set(xlim=(None, limit * 1.6), ylim=(len(settings) - 0.5, -0.5))
    axes.grid(False, axis="y")
    if reports:
        # In a frame: its markers are those of the reports, and must not look like one of them.
        axes.legend(title="reported", loc="upper left", fontsize=9, title_fontsize=9, frameon=True)
