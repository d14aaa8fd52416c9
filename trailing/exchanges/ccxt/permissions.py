"""Reads the permissions of an API key, on the venues that state them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec

from trailing.exchanges.ccxt.exchange import CcxtExchange


class Permissions(msgspec.Struct, frozen=True):
    """The permissions of an API key.

    Args:
        may_trade: it may trade futures.
        may_withdraw: it may withdraw funds.
        restricted: it works from certain IP addresses only.
    """

    may_trade: bool
    may_withdraw: bool
    restricted: bool


async def _binance_rights(exchange: CcxtExchange) -> Permissions:
    raw = await exchange.session.call("permissions", "sapiGetAccountApiRestrictions")
    return Permissions(bool(raw["enableFutures"]), bool(raw["enableWithdrawals"]), bool(raw["ipRestrict"]))


async def _bybit_rights(exchange: CcxtExchange) -> Permissions:
    raw = (await exchange.session.call("permissions", "privateGetV5UserQueryApi"))["result"]
    rights: Mapping[str, Any] = raw["permissions"]
    return Permissions(
        may_trade=not int(raw["readOnly"]) and "Order" in (rights.get("ContractTrade") or []),
        may_withdraw="Withdraw" in (rights.get("Wallet") or []),
        restricted="*" not in raw["ips"],
    )


async def _okx_rights(exchange: CcxtExchange) -> Permissions:
    raw = (await exchange.session.call("permissions", "privateGetAccountConfig"))["data"][0]
    rights = str(raw["perm"]).split(",")
    return Permissions(may_trade="trade" in rights, may_withdraw="withdraw" in rights, restricted=bool(raw["ip"]))


PERMISSION_READERS: Final[Mapping[str, Callable[[CcxtExchange], Awaitable[Permissions]]]] = {
    "binanceusdm": _binance_rights,
    "bybit": _bybit_rights,
    "okx": _okx_rights,
}
"""Functions that read the permissions, by the venue's name. The other venues don't state them."""
