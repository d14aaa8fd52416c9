"""Reads whether an account has a dead-man's switch, which would cancel protective stops when a program stops.

Only Bybit states it by a request that changes nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Literal

import msgspec

from trailing.errors import ExchangeUnreachable
from trailing.exchanges.ccxt.exchange import CcxtExchange
from trailing.exchanges.port import escaped

UNREADABLE_SWITCHES: Final[Mapping[str, str]] = {
    # https://developers.binance.com/docs/derivatives/usds-margined-futures/trade/rest-api/Auto-Cancel-All-Open-Orders
    "binanceusdm": "Binance does not state whether a countdown runs. Check that no program of this account calls "
    "countdownCancelAll: it cancels the open orders of a symbol",
    # https://www.okx.com/docs-v5/en/#order-book-trading-trade-post-cancel-all-after
    "okx": "OKX does not state whether a countdown runs. Check that no program of this account calls cancel-all-after: it cancels "
    "the pending orders of the account",
}
"""For the venues that don't state it: what to check by hand."""


class SwitchState(msgspec.Struct, frozen=True):
    """A dead-man's switch of an account.

    Args:
        verdict: ``"good"``: it is off; ``"warning"``: it is armed, or a program may arm it; ``"note"``: unknown.
        message: in words.
    """

    verdict: Literal["good", "note", "warning"]
    message: str


class _Dcp(msgspec.Struct, frozen=True, rename="camel"):
    product: str
    dcp_status: str
    time_window: str


class _Dcps(msgspec.Struct, frozen=True, rename="camel"):
    dcp_infos: tuple[_Dcp, ...]


async def _bybit_switch(exchange: CcxtExchange) -> SwitchState:
    """Read the disconnection protection: https://bybit-exchange.github.io/docs/v5/account/dcp-info."""
    raw = await exchange.session.call("dead man's switch", "privateGetV5AccountQueryDcpInfo")
    result: Any = raw.get("result") if isinstance(raw, Mapping) else raw
    try:
        found = msgspec.convert(result, _Dcps)
    except msgspec.ValidationError as error:
        raise ExchangeUnreachable(f"query-dcp-info: the reply can't be parsed: {escaped(str(error))}") from None
    for each in found.dcp_infos:
        if each.product == "DERIVATIVES" and each.dcp_status != "OFF":
            return SwitchState(
                "warning",
                f"disconnection protection (DCP) is {escaped(each.dcp_status, 20)}: {escaped(each.time_window, 20)} s after a program "
                'that subscribed to the topic "dcp" has lost its private connection, Bybit cancels the open orders of the account. '
                "Ask Bybit to turn it off, or let no program subscribe to it",
            )
    return SwitchState("good", "disconnection protection (DCP) is off for derivatives")


_READERS: Final[Mapping[str, Callable[[CcxtExchange], Awaitable[SwitchState]]]] = {"bybit": _bybit_switch}


async def read_dead_man_switch(exchange: CcxtExchange) -> SwitchState:
    """Return the dead-man's switch of an account, as far as its venue states it. Raises ExchangeError."""
    name = exchange.venue.name
    read = _READERS.get(name)
    if read is not None:
        return await read(exchange)
    unknown = "unknown on this venue: check that no program of this account sends a cancel-all with a countdown"
    return SwitchState("note", UNREADABLE_SWITCHES.get(name, unknown))
