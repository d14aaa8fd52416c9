"""One HTML page with everything in it: text, tables, figures, and the library that draws them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from bokeh.embed import components
from bokeh.model import Model
from bokeh.plotting import figure
from bokeh.resources import Resources
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

_TEMPLATES = Environment(
    loader=PackageLoader("trailing.plots", package_path="."),
    autoescape=True,  # texts come from files, exchanges and stores
    undefined=StrictUndefined,
    trim_blocks=True,
)


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """A table.

    Args:
        columns: their names.
        right: those that are aligned to the right.
        rows: cells as text.
    """

    columns: tuple[str, ...]
    right: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...]


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a page.

    Args:
        caption: sentences above the figure.
        figure: its name is unique in the page; None: there is none.
        table: None: there is none.
        is_folded: whether the table is hidden until it is opened.
    """

    heading: str
    caption: str = ""
    figure: figure | None = None
    table: Table | None = None
    is_folded: bool = False


def make_page(title: str, lines: Sequence[str], sections: Sequence[Section], notes: Sequence[str]) -> str:
    """Return a page that opens without a network. Every text is escaped.

    Args:
        lines: what comes first. One that begins with ``warning: `` is marked, and so is a note.
        notes: the assumptions, at the end.
    """
    figures: dict[str, Model] = {str(each.figure.name): each.figure for each in sections if each.figure is not None}
    script, places = components(figures) if figures else ("", {})
    library = Resources(mode="inline", components=["bokeh"]).render_js() if figures else ""
    return _TEMPLATES.get_template("page.html").render(
        title=title,
        lines=lines,
        sections=sections,
        notes=notes,
        # Bokeh's own markup, in which it has escaped the data
        library=Markup(library),  # noqa: S704
        script=Markup(script),  # noqa: S704
        places={name: Markup(place) for name, place in places.items()},  # noqa: S704
    )
