"""What `trailing flatten` prints."""

from __future__ import annotations

from rich.text import Text

from trailing.cli.listings import Listing, print_listing
from trailing.cli.tables import write_money
from trailing.flatten.result import FlattenResult, Survey


def print_survey(survey: Survey) -> None:
    """Print what would be closed and cancelled."""
    table = Listing(
        ("position", "side", "quantity", "entry", "stops"),
        right=("quantity", "entry", "stops"),
        left_out=("entry", "stops"),
    )
    for found in survey.positions:
        table.add_row(
            found.symbol,
            found.side,
            write_money(found.quantity),
            write_money(found.entry_price),
            str(found.stops),
        )
    notes = [f"positions to close: {len(survey.positions)}"]
    notes += [f"blocks a close, and will be cancelled: {words}" for words in survey.covering_orders]
    notes += [
        f"has no listed position, and will be cancelled once the position is confirmed flat: {words}"
        for words in survey.stops_without_position
    ]
    print_listing(table, notes=[*notes, *survey.problems])


def print_result(result: FlattenResult) -> None:
    """Print the result, and the list of what is open."""
    table = Listing(
        ("position", "side", "result", "quantity", "price"), right=("quantity", "price"), left_out=("price",)
    )
    for closed in result.closed:
        price = "unknown" if closed.price is None else write_money(closed.price)
        table.add_row(closed.symbol, closed.side, Text("closed", "green"), write_money(closed.quantity), price)
    for left in result.still_open:
        quantity = "unknown" if left.quantity is None else write_money(left.quantity)
        table.add_row(left.symbol, left.side, Text("not closed", "bold red"), quantity, "")
    notes = [f"cancelled: {words}" for words in result.cancelled]
    notes += [f"not closed: {left}" for left in result.still_open]
    notes += [f"not cancelled: {words}" for words in result.not_cancelled]
    notes += [f"left, because it may open a position: {words}" for words in result.left]
    if result.is_flat:
        notes.append(f"flat: two snapshots list no such position, after {result.elapsed:.1f} s")
    else:
        notes.append(f"NOT proved flat after {result.elapsed:.1f} s: {result.reason}")
    print_listing(table, notes=notes)
