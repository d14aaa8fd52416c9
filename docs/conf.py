"""How the documentation is built."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parent))

import failure_modes
import limit_rows
import machine_tables
import metric_rows
import venue_rows
from sphinx.util.nodes import make_refnode

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

project = "trailing"
author = "The trailing authors"
copyright = f"2026, {author}"  # noqa: A001 - Sphinx's name for it

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3
myst_enable_extensions = ["deflist"]
maximum_signature_line_length = 88  # a longer signature has one argument a line
html_static_path = ["static"]
html_css_files = ["wrap.css"]
html_theme = "furo"
html_title = "trailing"

default_role = "code"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_custom_sections = ["Cancellation", "If it fails"]

# Names of other projects are not looked up: the documentation builds without a network.
nitpick_ignore_regex = [(r"py:.*", r"(?!trailing\b).*")]
nitpick_ignore = [  # type variables
    ("py:class", "trailing.exchanges.port.T"),
    ("py:class", "trailing.testing.cancellation.World"),
]


def resolve_by_last_name(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement
) -> nodes.reference | None:
    """Find what a signature calls by the module that defines it where the reference has it under its public name."""
    if node.get("refdomain") != "py":
        return None
    ending = "." + node.get("reftarget", "").rpartition(".")[2]
    objects: dict[str, Any] = env.domaindata["py"]["objects"]
    found = [name for name in objects if name.startswith("trailing.") and name.endswith(ending)]
    if len(found) != 1:
        return None
    entry = objects[found[0]]
    return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, content, found[0])


def split_short_sections(*arguments: Any) -> None:
    """Give a section that begins on its heading's line (``Cancellation: ...``) the form that napoleon reads.

    Args:
        arguments: those of ``autodoc-process-docstring``; the last one is the docstring's lines, which are changed.
    """
    lines: list[str] = arguments[-1]
    inside = False
    result = list[str]()
    for line in lines:
        heading, _, text = line.partition(": ")
        if heading in napoleon_custom_sections and text:
            result += [f"{heading}:", f"    {text[0].upper()}{text[1:]}"]
            inside = True
        else:
            inside = inside and bool(line.strip())
            result.append(f"    {line.strip()}" if inside else line)
    lines[:] = result


def setup(app: Sphinx) -> None:
    """Write the generated parts of pages, and add the lookup of names and the reading of short sections."""
    machine_tables.write(Path(app.srcdir) / "_build" / "generated")
    failure_modes.write(Path(app.srcdir) / "_build" / "generated")
    venue_rows.write(Path(app.srcdir) / "_build" / "generated")
    limit_rows.write(Path(app.srcdir) / "_build" / "generated")
    metric_rows.write(Path(app.srcdir) / "_build" / "generated")
    app.connect("missing-reference", resolve_by_last_name)
    app.connect("autodoc-process-docstring", split_short_sections, priority=400)  # before napoleon
