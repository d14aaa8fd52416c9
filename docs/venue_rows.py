"""What is sent to each venue, drawn from its row, for the venues' pages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trailing.exchanges.ccxt.reading import READ_SECONDS
from trailing.exchanges.ccxt.venue import Codes, Slot, Venue
from trailing.exchanges.ccxt.venues import REFUSED, VENUES

AMOUNTS = {
    "contracts": "contracts, of the market's contract size each",
    "whole contracts": "contracts, whole ones only",
    "base": "base units",
}
ID_FORMS = {"plain": "as they are", "t-": "behind `t-`", "0x": "as 128 bits"}


def write(folder: Path) -> None:
    """Write `venue-NAME.md` for each venue and `refused.md` into a folder, where they differ from what is there."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {f"venue-{name}.md": table(venue) for name, venue in VENUES.items()}
    texts["refused.md"] = "\n".join(f"- `{name}`: {reason}." for name, reason in REFUSED.items()) + "\n"
    for name, text in texts.items():
        path = folder / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def table(venue: Venue) -> str:
    """One row for each thing that is sent or read."""
    hedge = "refused" if venue.hedge is None else f"yes, with {params(venue.hedge)}"
    if venue.hedge is None and venue.mode is None:
        hedge = "not told by the venue; the account is taken for one-way"
    find = "`fetch_order`" if venue.find is not None else "`fetch_open_orders` on the symbol"
    rows = {
        "a stop": f"`create_order` at market, with {params(venue.place)}",
        "a trailing order": "none that is used"
        if venue.trailing is None
        else f"`create_order` at market, with {params(venue.trailing.place)}; callbacks of {venue.trailing.callbacks}",
        "a move": "a new stop, then the old one goes"
        if venue.amend is None
        else f"`edit_order`, with {params(venue.amend)}",
        "a cancel": f"`cancel_order`, with {params(venue.cancel)}",
        "a look-up": f"{find}, with {params(venue.find if venue.find is not None else venue.find_list)}",
        "the list": "`fetch_open_orders`, with " + ", and with ".join(map(params, venue.lists)),
        "an exit": f"`create_order` at market, with {params(venue.close)}",
        "trigger sources": ", ".join(
            f"{source}{f' (`{word}`)' if word else ''}" for source, word in venue.sources.items()
        ),
        "prices told": ", ".join(venue.prices),
        "pushed": "prices, orders and positions"
        if venue.verified
        else f"nothing; prices are read every {READ_SECONDS:g} s, {'all at once' if venue.prices_at_once else 'one by one'}",
        "amounts": AMOUNTS[venue.amounts],
        "client order ids": ID_FORMS[venue.id_form],
        "hedge mode": hedge,
        "its codes": codes(venue.codes) or "by ccxt's classes only",
        "testnet": "none that ccxt knows" if venue.testnet is None else f"ccxt's `{venue.testnet}`",
    }
    lines = ["| what | how |", "| --- | --- |", *(f"| {what} | {how} |" for what, how in rows.items())]
    return "\n".join([*lines, ""])


def codes(known: Codes) -> str:
    """What becomes of which code; all others go by ccxt's class."""
    classes = {
        "WouldTrigger": known.would_trigger,
        "NothingToReduce": known.nothing_to_reduce,
        "NoSuchStop": known.gone,
        "StopRejected": known.duplicate | known.too_many | known.refused,
        "ExchangeUnreachable": known.busy | known.clock,
        "RateLimited": known.limited | known.banned,
        "OutcomeUnknown": known.unknown,
        "AuthenticationFailed": known.key,
        "done": known.unchanged,
    }
    return "; ".join(f"`{name}`: {', '.join(sorted(found))}" for name, found in classes.items() if found)


def params(of_call: Mapping[str, Any]) -> str:
    """Parameters of a ccxt call, with what is filled in between angle brackets."""
    texts = [
        f"`{name}: <{value.value}>`" if isinstance(value, Slot) else f"`{name}: {value}`"
        for name, value in of_call.items()
    ]
    return ", ".join(texts) or "no parameters"
