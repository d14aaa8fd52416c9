"""The profit of a grid over two of its axes, with the plateau and the best plan marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from bokeh.models import ColumnDataSource, CustomJSHover, FixedTicker, LinearColorMapper
from bokeh.models.annotations import ColorBar
from bokeh.palettes import Viridis256
from bokeh.plotting import figure

from trailing.plots.figures import PRICE, STOP, add_hover, new_figure
from trailing.sweep import SweepResult
from trailing.sweep.plateau import Cell

_MOST_LABELS: Final = 20


class HeatMap(msgspec.Struct, frozen=True):
    """A figure of a grid.

    Args:
        fixed: the axes that it does not show, each with the value of the best plan.
    """

    figure: figure
    fixed: dict[str, str]


def heat_map(result: SweepResult, profits: Sequence[float], *, name: str) -> HeatMap | None:
    """Return the profits over the two axes with the most values, or over one; None: no axis has several values.

    The other axes have the values of the best plan.

    Args:
        profits: of each plan, in percent.
        name: of the figure's place in the page.
    """
    axes = [number for number, values in enumerate(result.axes.values()) if len(values) > 1]
    if not axes:
        return None
    axes = sorted(sorted(axes, key=lambda number: -len(_values(result, number)))[:2])
    best = result.cells[result.best[0].number]
    others = [number for number in range(len(best)) if number not in axes]
    cells = {
        tuple(cell[axis] for axis in axes): number
        for number, cell in enumerate(result.cells)
        if all(cell[axis] == best[axis] for axis in others)
    }
    names = list(result.axes)
    fixed = {names[axis]: _values(result, axis)[best[axis]] for axis in others}
    draw = _draw_cells if len(axes) == 2 else _draw_line
    return HeatMap(draw(result, axes, cells, profits, name=name), fixed)


def _values(result: SweepResult, axis: int) -> tuple[str, ...]:
    return tuple(result.axes.values())[axis]


def _draw_cells(
    result: SweepResult, axes: Sequence[int], cells: Mapping[Cell, int], profits: Sequence[float], *, name: str
) -> figure:
    across, up = axes
    labels = [name.replace("_", " ") for name in result.axes]
    made = new_figure(
        name,
        height=460,
        x_label=labels[across],
        y_label=labels[up],
        x_range=(-0.5, len(_values(result, across)) - 0.5),
        y_range=(-0.5, len(_values(result, up)) - 0.5),
    )
    made.grid.visible = False
    shown = np.array([profits[number] for number in cells.values()], np.float32)
    x, y = np.array(list(cells), np.int32).T
    source = ColumnDataSource({"x": x, "y": y, "profit": shown})
    low, high = float(shown.min()), float(shown.max())
    # A range of colours needs a length, also where all plans gain the same.
    mapper = LinearColorMapper(palette=Viridis256, low=low, high=high if high > low else low + 1)
    drawn = made.rect(
        "x", "y", width=1, height=1, source=source, fill_color={"field": "profit", "transform": mapper}, line_color=None
    )
    # The colours of the page don't reach a colour bar, so its text has one that is readable on both.
    bar = ColorBar(color_mapper=mapper, height=14, title="profit, %", background_fill_alpha=0)
    bar.title_text_color = bar.major_label_text_color = PRICE
    made.add_layout(bar, "below")
    plateau = set() if result.plateau is None else set(result.plateau.plans)
    inside = {cell for cell, number in cells.items() if number in plateau}
    edges = list(outline(inside))
    for colour, width in (("black", 4.0), ("white", 2.0)):
        made.segment(*(np.array(column) for column in zip(*edges, strict=True)), color=colour, line_width=width)
    best = result.cells[result.best[0].number]
    made.scatter([best[across]], [best[up]], marker="star", size=18, fill_color="white", line_color="black")
    _label_ticks(made.xaxis[0], _values(result, across), steep=True)
    _label_ticks(made.yaxis[0], _values(result, up), steep=False)
    add_hover(
        made,
        [drawn],
        [(labels[across], "@x{custom}"), (labels[up], "@y{custom}"), ("profit", "@profit{0.00} %")],
        formatters={
            "@x": _value_of(_values(result, across)),
            "@y": _value_of(_values(result, up)),
        },
    )
    return made


def outline(cells: set[Cell]) -> Any:
    """Yield the borders between cells and what is not among them, each as x0, y0, x1, y1."""
    for x, y in sorted(cells):
        for dx, dy in ((-1, 0), (1, 0), (0, -1), (0, 1)):
            if (x + dx, y + dy) not in cells:
                middle_x, middle_y = x + dx / 2, y + dy / 2
                yield middle_x - abs(dy) / 2, middle_y - abs(dx) / 2, middle_x + abs(dy) / 2, middle_y + abs(dx) / 2


def _draw_line(
    result: SweepResult, axes: Sequence[int], cells: Mapping[Cell, int], profits: Sequence[float], *, name: str
) -> figure:
    (axis,) = axes
    label = list(result.axes)[axis].replace("_", " ")
    made = new_figure(name, height=320, x_label=label, y_label="profit, %")
    plateau = set() if result.plateau is None else set(result.plateau.plans)
    places = sorted(cells.items())
    x, y = [cell[0] for cell, _ in places], [profits[number] for _, number in places]
    colours = [STOP if number in plateau else PRICE for _, number in places]
    made.line(x, y, color=PRICE)
    drawn = made.scatter(x, y, size=9, color=colours)
    best = result.best[0].number
    made.scatter(
        [result.cells[best][axis]], [profits[best]], marker="star", size=18, line_color="black", fill_color="white"
    )
    _label_ticks(made.xaxis[0], _values(result, axis), steep=True)
    formatters = {"@x": _value_of(_values(result, axis))}
    add_hover(made, [drawn], [(label, "@x{custom}"), ("profit", "@y{0.00} %")], formatters=formatters)
    return made


def _label_ticks(axis: Any, values: Sequence[str], *, steep: bool) -> None:
    step = -(-len(values) // _MOST_LABELS)
    axis.ticker = FixedTicker(ticks=list(range(0, len(values), step)))
    axis.major_label_overrides = dict(enumerate(values))
    if steep:
        axis.major_label_orientation = "vertical"


def _value_of(values: Sequence[str]) -> CustomJSHover:
    """Return a formatter that writes the value of an index."""
    texts = ColumnDataSource({"values": list(values)})
    return CustomJSHover(args={"texts": texts}, code="return texts.data.values[value]")
