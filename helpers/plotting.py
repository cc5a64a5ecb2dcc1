"""Pictures with a text for who can't see them, animations, and the figures that recur.

The `plot_` functions draw into axes that they are given, so that a notebook decides on the layout.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import cycle

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
from cycler import cycler
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from PIL import Image

from helpers.history import History

# Okabe and Ito's, told apart with any common colour vision; yellow, too pale on white, comes last.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
LINE_STYLES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (8, 3)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
CLASS_COLORS = COLORS[:2]
# The class colours, pale enough for points on top.
CLASS_MAP = LinearSegmentedColormap.from_list("classes", ["#8fbfdc", "#ffffff", "#efb48a"])
Look = dict[str, object]  # color, linestyle and marker, as `axes.plot` takes them
MAX_FRAMES, PALETTE = 60, 64  # what keeps an animation of 640 x 320 pixels under 300 kB
REST = 3.0  # seconds for which an animation shows its last frame before it plays again
REPORT_STYLE = {"color": "black", "markerfacecolor": "white", "linestyle": "none", "zorder": 5}


def use_style() -> None:
    """Set the one style of all figures in place of any other; call it once, after the imports."""
    plt.style.use("default")  # a user's dark background would hide what is drawn in black
    plt.rc("figure", dpi=80, figsize=(8, 4))
    plt.rc("figure.constrained_layout", use=True)
    plt.rc("font", size=11)
    plt.rc("axes", titlesize=12, grid=True, prop_cycle=cycler(color=COLORS, linestyle=LINE_STYLES))
    plt.rc("axes.spines", top=False, right=False)
    plt.rc("grid", alpha=0.3)
    plt.rc("image", cmap="viridis")
    plt.rc("legend", frameon=False)


def looks_of(names: Iterable[str]) -> dict[str, Look]:
    """One colour, line style and marker for each name, to be the same in all of its figures.

    `axes.plot(x, y, **looks[name])` draws with them. Raises ValueError for more than eight names.
    """
    names, looks = list(names), zip(COLORS, LINE_STYLES, MARKERS, strict=True)
    if len(names) > len(COLORS):
        raise ValueError(f"{len(names)} names; expected at most {len(COLORS)}, else two look alike")
    keys = ("color", "linestyle", "marker")
    return {name: dict(zip(keys, next(looks), strict=True)) for name in names}


def png_of(figure: Figure) -> bytes:
    """A figure as a PNG file; the figure is closed."""
    file = io.BytesIO()
    figure.savefig(file, format="png")
    plt.close(figure)
    return file.getvalue()


def show(figure: Figure, *, alt: str) -> None:
    """Display a figure and close it; `alt` says what is to be seen, ValueError without it."""
    _display(png_of(figure), alt)


def animate(
    draw: Callable[..., Figure], frames: Iterable, *, alt: str, seconds: float = 8.0
) -> None:
    """Display an animated PNG that plays twice, `seconds` each, and rests on its last frame.

    `draw` makes a figure of each of the 2 to 60 `frames`: best the same figure, its artists updated
    in place. `alt` is as in `show`. Raises ValueError without it, for another number of frames, or
    figures of different sizes.
    """
    frames = list(frames)
    if not 2 <= len(frames) <= MAX_FRAMES:
        raise ValueError(f"{len(frames)} frames; expected 2 to {MAX_FRAMES}")
    pictures, figures = [], set()
    for figure in map(draw, frames):
        figures.add(figure)
        figure.canvas.draw()
        figure.set_layout_engine("none")  # else axes would move when a label changes its width
        pictures.append(np.array(figure.canvas.buffer_rgba())[..., :3])
    for figure in figures:
        plt.close(figure)
    if len(sizes := {picture.shape for picture in pictures}) > 1:
        raise ValueError(f"draw returned figures of different sizes, in pixels: {sorted(sizes)}")
    # One palette, from several frames: the file is small, no colour flickers, and thin lines keep
    # the house's colours.
    sample = np.concatenate([*pictures[:: -(-len(pictures) // 6)], pictures[-1]])
    house = [round(255 * part) for color in (*COLORS, "white") for part in to_rgb(color)]
    palette = Image.fromarray(sample).quantize(PALETTE - len(house) // 3)
    palette.putpalette([*palette.getpalette()[: 3 * PALETTE - len(house)], *house])
    dither = Image.Dither.NONE
    images = [Image.fromarray(p).quantize(palette=palette, dither=dither) for p in pictures]
    pauses = [1000 * seconds / len(images)] * (len(images) - 1) + [1000 * REST]
    file, moving = io.BytesIO(), {"save_all": True, "append_images": images, "loop": 2}
    # The last frame comes before the animation, too: whoever can't play it shows that one.
    images[-1].save(file, format="PNG", default_image=True, duration=pauses, **moving)
    _display(file.getvalue(), alt)


def _display(png: bytes, alt: str) -> None:
    if not alt.strip():
        raise ValueError("alt is empty; say in a sentence what the picture shows")
    data = {"image/png": base64.b64encode(png).decode(), "text/plain": alt}
    display(data, metadata={"image/png": {"alt": alt}}, raw=True)


def explore(draw: Callable[..., Figure], **controls) -> ipywidgets.VBox:
    """Sliders and lists above the picture that `draw` makes of what they say.

    `controls` maps each argument of `draw` to a slider's (least, greatest, step, start), or to a
    list of choices. The picture is drawn anew when a slider is released.
    """
    widgets = {}
    for name, control in controls.items():
        if isinstance(control, list):
            widgets[name] = ipywidgets.Dropdown(description=name, options=control)
        else:
            limits = dict(zip(("min", "max", "step", "value"), control, strict=True))
            limits |= {"description": name, "continuous_update": False}
            widgets[name] = ipywidgets.FloatSlider(**limits)
    picture = ipywidgets.Image(
        format="png", layout={"max_width": "99%", "align_self": "flex-start"}
    )

    def refresh(_=None) -> None:
        picture.value = png_of(draw(**{name: widget.value for name, widget in widgets.items()}))

    for widget in widgets.values():
        widget.observe(refresh, names="value")
    refresh()
    rows = ipywidgets.HBox([*widgets.values()], layout={"flex_flow": "row wrap"})
    return ipywidgets.VBox([rows, picture])


def plot_ensemble_curves(
    axes: Axes, curves: History | np.ndarray, name="", *, label: str, example=0, x=None, **look
) -> None:
    """Draw the median of an ensemble's curves, the band between its quartiles and one member.

    `curves` is a History, of which `name` is drawn, or an array of shape (members, points). `x`,
    shape (points,), are iterations or epochs, by default 0, 1, 2, …. The member `example` is a thin
    line; None draws no such line. For the rest see `looks_of`.
    """
    look = {"color": COLORS[0], "linestyle": "-", "marker": ""} | look
    values = curves.curve(name) if isinstance(curves, History) else np.asarray(curves)
    x = np.arange(values.shape[1]) if x is None else np.asarray(x)
    # A diverged member is left out from then on; where all are, so is the curve.
    defined = ~np.isnan(values).all(0)
    # nanquantile calls Python once for each point, which takes seconds for long curves.
    quantile = np.nanquantile if np.isnan(values).any() else np.quantile
    low, median, high = quantile(values[:, defined], (0.25, 0.5, 0.75), axis=0)
    axes.fill_between(x[defined], low, high, color=look["color"], alpha=0.2, linewidth=0)
    axes.plot(x[defined], median, markevery=0.1, linewidth=2, label=label, **look)
    if example is not None:
        axes.plot(x, values[example], linewidth=0.8, alpha=0.6, **look | {"marker": ""})


def mark_reports(axes: Axes, figures: Mapping[str, float], y: float | Sequence[float]) -> None:
    """Put a marker with its name where a report's figure lies; `figures` maps names to x."""
    heights = np.broadcast_to(y, len(figures))
    for (name, x), height, marker in zip(figures.items(), heights, cycle(MARKERS), strict=False):
        axes.plot(x, height, marker, label=name, markersize=8, clip_on=False, **REPORT_STYLE)


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
    height = rows * size * (1.0 if titles is None else 1.25) + 0.4 * bool(suptitle)
    figure, grid = plt.subplots(rows, columns, figsize=(columns * size, height), squeeze=False)
    for index, axes in enumerate(grid.flat):
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set(color="0.6", linewidth=0.8)  # where a white image ends
        axes.spines[:].set_visible(index < len(images))
        if index < len(images):
            axes.imshow(images[index], cmap=cmap, clim=value_range, interpolation="nearest")
            axes.set_title("" if titles is None else titles[index], fontsize=9, pad=2)
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
    resolution: int = 100,
) -> None:
    """Shade a plane by a classifier's probability of class 1, in tenths, and draw where it is ½.

    `probability` maps an array (n, 2) to one of (n,), and is evaluated at `resolution` places along
    each axis. `points` and `labels` are drawn on top, see `plot_classes`.
    """
    x, y = np.meshgrid(np.linspace(*x_range, resolution), np.linspace(*y_range, resolution))
    values = np.asarray(probability(np.column_stack([x.ravel(), y.ravel()]))).reshape(x.shape)
    # Ten flat shades: they leave an animation's palette room for lines and points.
    axes.contourf(x, y, values, np.linspace(0, 1, 11), cmap=CLASS_MAP)
    if values.min() < 0.5 < values.max():
        axes.contour(x, y, values, levels=[0.5], colors="black", linewidths=1.5)
    if points is not None:
        plot_classes(axes, points, labels)
    axes.set(xlim=x_range, ylim=y_range, aspect="equal")
    axes.grid(False)


def plot_classes(axes: Axes, points: np.ndarray, labels: np.ndarray) -> None:
    """Scatter points of shape (n, 2) with labels 0 (circles) and 1 (squares), shape (n,)."""
    for value, marker in enumerate("os"):
        x, y = np.asarray(points)[np.asarray(labels) == value].T
        look = {"color": CLASS_COLORS[value], "edgecolor": "black", "zorder": 3}
        axes.scatter(x, y, s=70, marker=marker, label=f"class {value}", **look)


def plot_iterations(
    axes: Axes,
    solved_at: Mapping[str, np.ndarray],
    *,
    limit: int,
    reports: Mapping[str, Mapping[str, float]] | None = None,
    looks: Mapping[str, Look] | None = None,
) -> None:
    """One row per setting: each member's iterations to the goal, their quartiles, and the reports'.

    `solved_at` maps a setting to an array, shape (members,), infinite where a member was not
    solved: such are drawn behind the dotted `limit`. `reports` maps a report to {setting: figure},
    `looks` a setting to its look, by default in the order of `looks_of`.
    """
    settings, reports, looks = list(solved_at), reports or {}, looks or looks_of(solved_at)
    for row, values in enumerate(solved_at.values()):
        heights = row + 0.5 * (np.arange(len(values)) / max(1, len(values) - 1) - 0.5)
        shown = np.where(np.isfinite(values), np.maximum(values, 1), limit * 1.35)
        axes.plot(shown, heights, ".", color=looks[settings[row]]["color"], alpha=0.5, markersize=5)
        low, median, high = np.quantile(shown, (0.25, 0.5, 0.75), method="inverted_cdf")
        axes.plot([low, high], [row, row], color="black", linestyle="-", linewidth=3)
        axes.plot([median], [row], "|", color="black", markersize=16, markeredgewidth=3)
        if median <= limit:
            axes.text(median, row - 0.28, f"{median:,.0f}", ha="center", va="bottom", fontsize=9)
        share = f"{np.isfinite(values).sum()}/{len(values)} solved"
        axes.text(1.01, row, share, transform=axes.get_yaxis_transform(), va="center", fontsize=9)
    for (report, figures), marker in zip(reports.items(), cycle(MARKERS[1:]), strict=False):
        rows = [settings.index(setting) for setting in figures]
        axes.plot(list(figures.values()), rows, marker, label=report, markersize=9, **REPORT_STYLE)
    axes.axvline(limit, color="0.4", linestyle=":", linewidth=1)
    axes.set(xscale="log", xlabel="iterations", yticks=range(len(settings)), yticklabels=settings)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set(xlim=(None, limit * 1.6), ylim=(len(settings) - 0.5, -0.5))
    axes.grid(False, axis="y")
    if reports:  # in a frame, so that its markers don't look like figures of a report
        axes.legend(title="reported", loc="upper left", fontsize=9, title_fontsize=9, frameon=True)
