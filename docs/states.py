"""The table of states of the code, as a table and a picture for the design page."""

from __future__ import annotations

from math import hypot
from pathlib import Path

from trailing.core.states import EVENTS, TRANSITIONS, State

# Where each state stands in the picture: in a ring round the last one. A state without a place here fails the build.
PLACES = {
    State.OPENING: (80, 240),
    State.WAITING: (260, 60),
    State.TRAILING: (560, 60),
    State.EXITING: (740, 240),
    State.UNRESOLVED: (560, 420),
    State.UNPROTECTED: (260, 420),
    State.CLOSED: (410, 240),
}
COLOURS = {
    State.WAITING: "#d9f2dd",  # a stop is live
    State.TRAILING: "#d9f2dd",
    State.UNPROTECTED: "#f8d7da",  # none is
    State.CLOSED: "#ececf0",
}
UNSURE = "#fbe9d7"
WIDTH, HEIGHT = 820, 480
HALF_WIDTH, HALF_HEIGHT = 62, 20
# How far an arrow bends aside, so that the two directions between a pair of states lie apart; and how far one does that
# would otherwise run through the state in the middle.
BEND, BEND_ROUND = 30, 110


def write(folder: Path) -> None:
    """Write `states.md` and `states.svg` into a folder, where they differ from what is there."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("states.md", table()), ("states.svg", picture())):
        path = folder / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def table() -> str:
    """One row an event, one column a state: where it leads; a dot where it is ignored, empty where it is illegal."""
    rows = [["event", *State], ["---"] * (len(State) + 1)]
    rows += [[f"`{event}`", *(cell(state, event) for state in State)] for event in EVENTS]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    meanings = [f"- `{event}`: {meaning}" for event, meaning in EVENTS.items()]
    return "\n".join([*lines, "", *meanings, ""])


def cell(state: State, event: str) -> str:
    """Where an event leads from a state."""
    leads_to = TRANSITIONS.get((state, event))
    if leads_to is None:
        return ""
    return ", ".join("stays" if other is state else other for other in leads_to) or "·"


def picture() -> str:
    """The states, and an arrow wherever an event leads from one to another; its title names the events."""
    arrows: dict[tuple[State, State], list[str]] = {}
    for (state, event), leads_to in TRANSITIONS.items():
        for other in leads_to:
            if other is not state:
                arrows.setdefault((state, other), []).append(event)
    parts = [arrow(*pair, events) for pair, events in arrows.items()]
    parts += [box(state) for state in State]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">\n'
        '<defs><marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z" fill="#667"/></marker></defs>\n'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def box(state: State) -> str:
    """A state; green where a stop is live, red where none is, grey at the end."""
    x, y = PLACES[state]
    return (
        f'<rect x="{x - HALF_WIDTH}" y="{y - HALF_HEIGHT}" width="{2 * HALF_WIDTH}" height="{2 * HALF_HEIGHT}" rx="8" '
        f'fill="{COLOURS.get(state, UNSURE)}" stroke="#445"/>'
        f'<text x="{x}" y="{y + 5}" text-anchor="middle" font-size="15">{state}</text>'
    )


def arrow(start: State, end: State, events: list[str]) -> str:
    """A bent arrow from the edge of one box to the edge of another; a light one to the end, where all states lead."""
    (x1, y1), (x2, y2) = PLACES[start], PLACES[end]
    length = hypot(x2 - x1, y2 - y1)
    opposite = hypot((x1 + x2) / 2 - PLACES[State.CLOSED][0], (y1 + y2) / 2 - PLACES[State.CLOSED][1]) < HALF_HEIGHT
    bend = 0 if end is State.CLOSED else BEND_ROUND if opposite else BEND
    middle = ((x1 + x2) / 2 - (y2 - y1) / length * bend, (y1 + y2) / 2 + (x2 - x1) / length * bend)
    from_x, from_y = edge((x1, y1), middle)
    to_x, to_y = edge((x2, y2), middle)
    return (
        f'<path d="M{from_x:.1f},{from_y:.1f} Q{middle[0]:.1f},{middle[1]:.1f} {to_x:.1f},{to_y:.1f}" fill="none" '
        f'stroke="{"#bbc" if end is State.CLOSED else "#667"}" marker-end="url(#head)">'
        f"<title>{start} to {end}: {', '.join(events)}</title></path>"
    )


def edge(centre: tuple[float, float], towards: tuple[float, float]) -> tuple[float, float]:
    """Where the line from a box's centre towards a point leaves the box."""
    x, y = centre
    dx, dy = towards[0] - x, towards[1] - y
    reach = min(HALF_WIDTH / abs(dx) if dx else float("inf"), HALF_HEIGHT / abs(dy) if dy else float("inf"))
    return x + dx * reach, y + dy * reach
