"""Reads the permissions of an API key, on the venues that state them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec

from trailing.errors import ExchangeUnreachable
from trailing.exchanges.ccxt.exchange import CcxtExchange
from trailing.exchanges.port import escaped

T = TypeVar("T")


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


class _BinanceKey(msgspec.Struct, frozen=True, rename="camel"):
    enable_futures: bool
    enable_withdrawals: bool
    ip_restrict: bool


class _BybitRights(msgspec.Struct, frozen=True):
    contract: tuple[str, ...] = msgspec.field(name="ContractTrade", default=())
    wallet: tuple[str, ...] = msgspec.field(name="Wallet", default=())


class _BybitKey(msgspec.Struct, frozen=True, rename="camel"):
    read_only: Literal[0, 1]
    permissions: _BybitRights
    ips: tuple[str, ...]


class _OkxKey(msgspec.Struct, frozen=True):
    perm: Annotated[str, msgspec.Meta(pattern=r"^(read_only|trade|withdraw)(,(read_only|trade|withdraw))*$")]
    ip: str


async def _binance_rights(exchange: CcxtExchange) -> Permissions:
    key = _parse(await exchange.session.call("permissions", "sapiGetAccountApiRestrictions"), _BinanceKey)
    return Permissions(key.enable_futures, key.enable_withdrawals, key.ip_restrict)


async def _bybit_rights(exchange: CcxtExchange) -> Permissions:
    raw = await exchange.session.call("permissions", "privateGetV5UserQueryApi")
    key = _parse(raw.get("result") if isinstance(raw, Mapping) else raw, _BybitKey)
    return Permissions(
        may_trade=not key.read_only and "Order" in key.permissions.contract,
        may_withdraw="Withdraw" in key.permissions.wallet,
        restricted="*" not in key.ips,
    )


async def _okx_rights(exchange: CcxtExchange) -> Permissions:
    raw = await exchange.session.call("permissions", "privateGetAccountConfig")
    (key,) = _parse(raw.get("data") if isinstance(raw, Mapping) else raw, tuple[_OkxKey])
    rights = key.perm.split(",")
    return Permissions(may_trade="trade" in rights, may_withdraw="withdraw" in rights, restricted=bool(key.ip))


def _parse(raw: Any, kind: type[T]) -> T:
    """Parse a reply. Raises ExchangeUnreachable, because a wrong value must not look like a missing permission."""
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise ExchangeUnreachable(f"permissions: the reply can't be parsed: {escaped(str(error))}") from None


PERMISSION_READERS: Final[Mapping[str, Callable[[CcxtExchange], Awaitable[Permissions]]]] = {
    "binanceusdm": _binance_rights,
    "bybit": _bybit_rights,
    "okx": _okx_rights,
}
"""Functions that read the permissions, by the venue's name, or raise ExchangeError. The other venues don't state them."""
