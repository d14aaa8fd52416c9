"""What all figures share: their size, their tools, their colours, and how long data are made short."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from bokeh.models import BasicTickFormatter, HoverTool
from bokeh.models.annotations import Legend, LegendItem
from bokeh.plotting import figure

PRICE: Final = "#7d8790"
STOP: Final = "#3b82f6"
PROFIT: Final = "#12a37f"
LOSS: Final = "#e08a00"
OPEN: Final = "#8b5cf6"
UNPROTECTED: Final = "#e5484d"
"""These colours are readable on white and on black. Red means unprotected, and nothing else."""

MOST_POINTS: Final = 1500
"""The most points of a line. A screen has hardly more columns."""

_TOOLS: Final = "pan,box_zoom,xwheel_zoom,reset,save"


def new_figure(name: str, *, height: int = 320, x_label: str, y_label: str, **options: Any) -> figure:
    """Return an empty figure as wide as the page.

    Args:
        name: of its place in the page.
        options: of Bokeh's `figure`.
    """
    made = figure(
        name=name,
        height=height,
        sizing_mode="stretch_width",
        tools=_TOOLS,
        # No tool is active at first, because it would take the finger or the wheel that scrolls the page.
        active_drag=None,
        active_scroll=None,
        x_axis_label=x_label,
        y_axis_label=y_label,
        output_backend="canvas",
        **options,
    )
    made.toolbar.logo = None
    made.axis.axis_label_text_font_style = "normal"
    for axis in made.yaxis:
        axis.formatter = BasicTickFormatter(use_scientific=False)
    return made


def add_legend(made: figure, items: list[tuple[str, list[Any]]]) -> None:
    """Put a legend above a figure, in rows of three."""
    shown = Legend(ncols=3, orientation="horizontal", click_policy="hide", border_line_width=0, background_fill_alpha=0)
    shown.label_text_color = PRICE  # readable on white and on black, as the colours of the page don't reach a legend
    shown.items = [LegendItem(label={"value": label}, renderers=renderers) for label, renderers in items]
    made.add_layout(shown, "above")


def add_hover(made: figure, renderers: list[Any], rows: list[tuple[str, str]], **options: Any) -> None:
    """Show the values under the pointer. Bokeh escapes them."""
    made.add_tools(HoverTool(renderers=renderers, tooltips=rows, **options))


def thin(values: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return the indexes of at most `MOST_POINTS` values, among them the lowest and the highest of each stretch."""
    count = len(values)
    if count <= MOST_POINTS:
        return np.arange(count)
    stretches = np.array_split(np.arange(count), MOST_POINTS // 2 - 1)
    kept = [index for each in stretches for index in (each[values[each].argmin()], each[values[each].argmax()])]
    return np.unique([0, *kept, count - 1])
