"""Draws what is sent to each venue from its row, for the venues' pages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trailing.exchanges.ccxt.error_codes import ErrorCodes
from trailing.exchanges.ccxt.polling import POLL_SECONDS
from trailing.exchanges.ccxt.venue import Slot, Venue
from trailing.exchanges.ccxt.venues import REFUSED, VENUES

AMOUNTS = {
    "contracts": "contracts, of the market's contract size each",
    "whole contracts": "whole contracts",
    "base": "base units",
}
ID_FORMS = {"plain": "unchanged", "t-": "with the prefix `t-`", "0x": "as 128 bits in hex"}


def write(folder: Path) -> None:
    """Write `venue-NAME.md` for each venue and `refused.md` into a folder. A file without changes is not touched."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {f"venue-{name}.md": table(venue) for name, venue in VENUES.items()}
    texts["refused.md"] = "\n".join(f"- `{name}`: {reason}." for name, reason in REFUSED.items()) + "\n"
    for name, text in texts.items():
        path = folder / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def table(venue: Venue) -> str:
    """Return a Markdown table with one line for each thing that is sent or parsed."""
    stops, lists, trailing = venue.stops, venue.lists, venue.stops.trailing
    find = "`fetch_order`" if lists.find is not None else "`fetch_open_orders` for the symbol"
    rows = {
        "place a stop": f"`create_order` at market with {params(stops.place)}",
        "place a trailing order": "not used"
        if trailing is None
        else f"`create_order` at market with {params(trailing.place)}; callbacks {trailing.callbacks}",
        "move a stop": "a new stop, then cancel the old one"
        if stops.amend is None
        else f"`edit_order` with {params(stops.amend)}",
        "cancel a stop": f"`cancel_order` with {params(stops.cancel)}",
        "look up a stop": f"{find} with {params(lists.find if lists.find is not None else lists.find_list)}",
        "list stops": "`fetch_open_orders` with " + ", and with ".join(map(params, lists.stops)),
        "close a position": f"`create_order` at market with {params(venue.closes.place)}",
        **entries(venue),
        "trigger sources": ", ".join(
            f"{source}{f' (`{word}`)' if word else ''}" for source, word in stops.sources.items()
        ),
        "price sources": ", ".join(venue.prices.methods),
        "stream": "prices, orders and positions" if venue.verified else polling(venue),
        "amounts": AMOUNTS[venue.orders.amount_unit],
        "client order ids": ID_FORMS[venue.orders.id_form],
        "hedge mode": hedge_mode(venue),
        "error codes": codes(venue.errors) or "by ccxt's classes only",
        "test network": "none that ccxt knows"
        if venue.client.testnet_method is None
        else f"ccxt's `{venue.client.testnet_method}`",
    }
    if (only := venue.account.margin_mode) is not None:
        other = "an isolated" if only == "cross" else "a cross"
        rows["margin mode"] = f"{only} only: {other} position is not protected"
    lines = ["| what | how |", "| --- | --- |", *(f"| {what} | {how} |" for what, how in rows.items())]
    return "\n".join([*lines, ""])


def entries(venue: Venue) -> Mapping[str, str]:
    """Return what is sent for entries."""
    rows = venue.entries
    if rows is None:
        return {"place an entry": "refused: it was not tried there"}
    stop = {None: "can't carry one", "own": "becomes a stop of its own", "bridge": "becomes the stop of the position"}
    with_stop = f", with {params(rows.stop)}" if rows.stop else ""
    return {
        "place an entry": f"`create_order` at market or with a limit, with {params(rows.place)}",
        "cancel an entry": f"`cancel_order` with {params(rows.cancel)}",
        "look up an entry": ", then ".join(f"`{method}` with {params(template)}" for method, template in rows.find),
        "stop of an entry": f"{stop[rows.attached_stop]}{with_stop}",
    }


def polling(venue: Venue) -> str:
    """Describe how the prices of a venue without a stream are read."""
    each = "all symbols in one request" if venue.prices.batched else "one request for each symbol"
    return f"none; prices are polled every {POLL_SECONDS:g} s, {each}"


def hedge_mode(venue: Venue) -> str:
    """Describe whether hedge mode is supported."""
    if venue.account.hedge_params is not None:
        return f"yes, with {params(venue.account.hedge_params)}"
    return "refused" if venue.account.mode_from is not None else "unknown; one-way mode is assumed"


def codes(known: ErrorCodes) -> str:
    """List the codes that become each error. All others follow ccxt's class."""
    classes = {
        "WouldTrigger": known.would_trigger,
        "NoSuchPosition": known.no_position,
        "NothingToReduce": known.nothing_to_reduce,
        "NoSuchStop": known.gone,
        "TooManyStops": known.too_many,
        "StopRejected": known.duplicate | known.refused,
        "ExchangeUnreachable": known.busy | known.clock,
        "RateLimited": known.limited | known.banned,
        "OutcomeUnknown": known.unknown,
        "AuthenticationFailed": known.key,
        "no error": known.unchanged,
    }
    return "; ".join(f"`{name}`: {', '.join(sorted(found))}" for name, found in classes.items() if found)


def params(of_call: Mapping[str, Any]) -> str:
    """List the parameters of a ccxt call, with placeholders in angle brackets."""
    return ", ".join(f"`{name}: {value_text(value)}`" for name, value in of_call.items()) or "no parameters"


def value_text(value: Any) -> str:
    """Return a parameter's value, with placeholders in angle brackets."""
    if isinstance(value, Slot):
        return f"<{value.value}>"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {value_text(each)}" for name, each in value.items()) + "}"
    return f"[{', '.join(map(value_text, value))}]" if isinstance(value, list) else str(value)
