"""A picture with sliders, out of the widgets that Colab and JupyterLab both have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipywidgets
from matplotlib.figure import Figure

from helpers.plotting import png_of


def explore(draw: Callable[..., Figure], **controls: Any) -> ipywidgets.VBox:
    """Return sliders and lists above the picture that `draw` makes of what they say.

    `controls` maps each argument of `draw` to a slider's (least, greatest, step, start), or to a
    list of choices. The picture is drawn anew when a slider is released.
    """
    widgets = {name: _widget(name, control) for name, control in controls.items()}
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


def _widget(name: str, control: Any) -> ipywidgets.Widget:
    if isinstance(control, list):
        return ipywidgets.Dropdown(description=name, options=control)
    least, greatest, step, start = control
    limits = {"min": least, "max": greatest, "step": step, "continuous_update": False}
    return ipywidgets.FloatSlider(start, description=name, **limits)
