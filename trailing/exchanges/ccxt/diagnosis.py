"""What could keep a stop from being placed: an account is looked at from all sides before a bot relies on it."""

from __future__ import annotations

import math
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeAlias

import msgspec
import trio

from trailing.core.account import PositionReport
from trailing.core.model import Percent, Source, StopOrder, Tick
from trailing.core.prices import behind, floor_quantity, round_stop
from trailing.errors import ExchangeError, OutcomeUnknown, StopRejected, TrailingError, UsageError
from trailing.exchanges.ccxt.conversion import CLOSING, number
from trailing.exchanges.ccxt.exchange import CcxtExchange
from trailing.exchanges.port import StopRequest

Verdict: TypeAlias = Literal["good", "note", "warning", "failure"]

CLOCK_OFF: Final = 1.0
"""Seconds that a request's time may be ahead at Binance and at Bybit; ours are corrected, other programs' aren't."""

STREAM_SECONDS: Final = 10.0
"""Seconds in which the first price has to come: within as many the stream notices that a line is silent."""

CLEANUP_SECONDS: Final = 30.0
"""Seconds within which the trial stop has to be gone again, its requests' turns included."""

FAR_AWAY: Final = Percent("20")
"""How far behind the price the stop is that is placed on trial."""


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at.

    Args:
        verdict: ``"good"``; ``"note"``: nobody can tell, or it is as it should be known; ``"warning"``: it works, and may
            cost; ``"failure"``: stops can't be relied on.
        seconds: what was measured, where something was.
    """

    subject: str
    verdict: Verdict
    says: str
    seconds: float | None = None


async def examine(exchange: CcxtExchange, *, symbol: str, place: bool) -> AsyncIterator[Finding]:
    """Look at an account, one thing after the other. What can't be looked at is a finding too.

    Args:
        symbol: of the market whose stream is listened to, and where a stop is placed.
        place: place a stop far away behind an open position of that symbol, look it up, and cancel it.
    """
    checks: list[tuple[str, Callable[[CcxtExchange, str], Awaitable[list[Finding]]]]] = [
        ("venue", _venue),
        ("clock", _clock),
        ("permissions", _permissions),
        ("mode", _mode),
        ("margin", _margin),
        ("market", _market),
        ("positions", _positions),
        ("stops", _stops),
        ("stream", _stream),
    ]
    if place:
        checks.append(("placing", _placing))
    for subject, check in checks:
        try:
            findings = await check(exchange, symbol)
        except TrailingError as error:
            findings = [Finding(subject, "failure", str(error))]
        for finding in findings:
            yield finding


async def _venue(exchange: CcxtExchange, _: str) -> list[Finding]:
    if exchange.venue.verified:
        return [Finding("venue", "good", f"{exchange.name}: tried over a server of its kind")]
    says = f"{exchange.name} is unverified: only what is sent there is known, and no stop of ours was seen to trigger"
    return [Finding("venue", "warning", says)]


async def _clock(exchange: CcxtExchange, _: str) -> list[Finding]:
    asked_at, started = datetime.now(UTC), trio.current_time()
    there = await exchange.session.call("time", "fetch_time")
    there_and_back = trio.current_time() - started
    skew = int(there) / 1000 - asked_at.timestamp() - there_and_back / 2
    verdict: Verdict = "good" if abs(skew) < CLOCK_OFF else "warning"
    says = f"the exchange is {skew:+.3f} s from here, there and back takes {there_and_back * 1000:.0f} ms"
    return [Finding("clock", verdict, says, skew)]


async def _permissions(exchange: CcxtExchange, _: str) -> list[Finding]:
    read = _READERS.get(exchange.venue.name)
    if read is None:
        return [
            Finding("permissions", "note", "not told by this venue: look whether the key may withdraw, it need not")
        ]
    try:
        rights = await read(exchange)
    except ExchangeError as error:
        return [Finding("permissions", "note", f"not told: {error}")]
    except (LookupError, TypeError, ValueError) as error:
        return [Finding("permissions", "note", f"told in words that we don't know: {error!r}")]
    findings = []
    if not rights.trades:
        findings.append(Finding("permissions", "failure", "the key may not trade futures"))
    if rights.withdraws:
        findings.append(
            Finding("permissions", "warning", "the key may withdraw: take that right away, it is not needed")
        )
    if not rights.bound:
        findings.append(Finding("permissions", "warning", "the key works from every address: bind it to yours"))
    return findings or [
        Finding("permissions", "good", "the key trades futures, does not withdraw, is bound to addresses")
    ]


class _Rights(msgspec.Struct, frozen=True):
    trades: bool
    withdraws: bool
    bound: bool


async def _binance_rights(exchange: CcxtExchange) -> _Rights:
    raw = await exchange.session.call("permissions", "sapiGetAccountApiRestrictions")
    return _Rights(bool(raw["enableFutures"]), bool(raw["enableWithdrawals"]), bool(raw["ipRestrict"]))


async def _bybit_rights(exchange: CcxtExchange) -> _Rights:
    raw = (await exchange.session.call("permissions", "privateGetV5UserQueryApi"))["result"]
    rights: Mapping[str, Any] = raw["permissions"]
    return _Rights(
        trades=not int(raw["readOnly"]) and "Order" in (rights.get("ContractTrade") or []),
        withdraws="Withdraw" in (rights.get("Wallet") or []),
        bound="*" not in raw["ips"],
    )


_READERS: Mapping[str, Callable[[CcxtExchange], Awaitable[_Rights]]] = {
    "binanceusdm": _binance_rights,
    "bybit": _bybit_rights,
}


async def _mode(exchange: CcxtExchange, _: str) -> list[Finding]:
    if exchange.venue.mode is None:
        return [Finding("mode", "note", "not told by this venue, and taken for one-way")]
    word = "hedge: a long and a short of one symbol may stand at once" if exchange.hedged else "one-way"
    return [Finding("mode", "good", word)]


async def _margin(exchange: CcxtExchange, _: str) -> list[Finding]:
    """Cross or isolated: of the account where the venue tells it so, else of each open position."""
    venue, call = exchange.venue, exchange.session.call
    if venue.name == "bybit":
        word = (await call("account", "privateGetV5AccountInfo"))["result"]["marginMode"]
        return [Finding("margin", "good", f"{_BYBIT_MARGINS.get(word, word)}, of the whole account")]
    rows = [
        row for params in venue.position_lists for row in await call("positions", "fetch_positions", None, {**params})
    ]
    told = {row["symbol"]: row.get("marginMode") or "not told" for row in rows if number(row.get("contracts"))}
    if not told:
        return [Finding("margin", "note", "told of open positions only, and there are none")]
    uncovered = venue.cross_only and "isolated" in told.values()
    says = ", ".join(f"{symbol} {mode}" for symbol, mode in sorted(told.items()))
    if uncovered:
        says = f"stops are sent for cross margin, and cover no position that is isolated: {says}"
    return [Finding("margin", "failure" if uncovered else "good", says)]


_BYBIT_MARGINS: Mapping[str, str] = {
    "REGULAR_MARGIN": "cross",
    "ISOLATED_MARGIN": "isolated",
    "PORTFOLIO_MARGIN": "portfolio",
}


async def _market(exchange: CcxtExchange, symbol: str) -> list[Finding]:
    market = exchange.market(symbol)
    sources: list[Source] = ["last", "mark", "index"]
    triggers = ", ".join(source for source in sources if source in exchange.venue.sources)
    moves = "changed in place" if market.can_amend else "placed anew before the old one goes"
    says = (
        f"{symbol}: tick {market.price_tick}, step {market.quantity_step}, at least {market.min_quantity}; stops trigger "
        f"by {triggers}, and are {moves}"
    )
    return [Finding("market", "good", says)]


async def _positions(exchange: CcxtExchange, _: str) -> list[Finding]:
    reports = await exchange.positions()
    findings = [Finding("positions", "good", f"{len(reports)} open")]
    for report in reports:
        market = exchange.market(report.symbol)
        least = max(market.min_quantity, market.quantity_step)
        if report.quantity < least:
            says = f"{report.symbol} {report.side}: {report.quantity} is less than a stop may be ({least})"
            findings.append(Finding("positions", "warning", says))
    return findings


async def _stops(exchange: CcxtExchange, _: str) -> list[Finding]:
    stops = await exchange.open_stops()
    held = {(report.symbol, report.side) for report in await exchange.positions()}
    findings = [Finding("stops", "good", f"{len(stops)} live")]
    findings += [
        Finding("stops", "warning", f"{stop.symbol} {stop.side}: the stop {stop.client_order_id} has no position")
        for stop in stops
        if (stop.symbol, stop.side) not in held
    ]
    return findings


async def _stream(exchange: CcxtExchange, symbol: str) -> list[Finding]:
    started = trio.current_time()
    async with exchange.updates() as updates:
        await exchange.set_subscriptions({symbol})
        with trio.move_on_after(STREAM_SECONDS) as scope:
            async for update in updates:
                if isinstance(update, Tick) and update.symbol == symbol:
                    break
        silent = scope.cancelled_caught
    await exchange.set_subscriptions(frozenset())
    seconds = trio.current_time() - started
    if silent:
        return [Finding("stream", "failure", f"no price of {symbol} within {STREAM_SECONDS} s", seconds)]
    return [Finding("stream", "good", f"the first price of {symbol} came after {seconds:.2f} s", seconds)]


async def _placing(exchange: CcxtExchange, symbol: str) -> list[Finding]:
    report = next((report for report in await exchange.positions() if report.symbol == symbol), None)
    if report is None:
        says = f"no position in {symbol}: a stop that only reduces needs one to be tried behind"
        return [Finding("placing", "note", says)]
    findings = []
    for source in exchange.venue.sources:
        try:
            findings.append(await _place_and_cancel(exchange, report, source))
        except (ExchangeError, UsageError) as error:
            findings.append(Finding("placing", "failure", f"{symbol} {report.side} by the {source} price: {error}"))
        if trio.current_effective_deadline() == -math.inf:
            break  # cancelled, and what was found is still returned: a stop that may stand among it
    return findings


async def _place_and_cancel(exchange: CcxtExchange, report: PositionReport, source: Source) -> Finding:
    market = exchange.market(report.symbol)
    price = (await exchange.price(report.symbol, source)).price
    request = StopRequest(
        symbol=report.symbol,
        side=report.side,
        quantity=floor_quantity(report.quantity, market.quantity_step),
        price=round_stop(report.side, behind(report.side, price, FAR_AWAY), market.price_tick),
        client_order_id=f"tr{secrets.token_hex(10)}",
        source=source,
    )
    started = trio.current_time()
    order: StopOrder | None = None
    may_exist = True
    try:
        order = await exchange.place_stop(request)
        seconds = trio.current_time() - started
    except OutcomeUnknown:
        raise
    except (ExchangeError, UsageError):
        may_exist = False
        raise
    finally:
        if may_exist:
            with trio.move_on_after(CLEANUP_SECONDS, shield=True) as scope:
                await _take_back(exchange, request, order)
            if scope.cancelled_caught:
                raise _may_stand(request)
    placed = f"{request.symbol} {request.side} at {request.price} by the {source} price"
    return Finding("placing", "good", f"{placed}: placed in {seconds * 1000:.0f} ms, found, cancelled", seconds)


async def _take_back(exchange: CcxtExchange, request: StopRequest, order: StopOrder | None) -> None:
    """Cancel the trial stop; where it was acknowledged, it has to be there."""
    try:
        await trio.sleep(exchange.orders_read_lag)
        found = await exchange.find_stop(request.symbol, request.client_order_id)
        if found is None and order is None:  # of unknown outcome: it may be booked yet
            await trio.sleep(exchange.request_validity)
            found = await exchange.find_stop(request.symbol, request.client_order_id)
        if found is not None:
            await exchange.cancel_stop(found)
            await trio.sleep(exchange.orders_read_lag)
            left = await exchange.find_stop(request.symbol, request.client_order_id)
    except ExchangeError as error:
        raise _may_stand(request) from error
    if found is None and order is not None:
        raise StopRejected(f"the {CLOSING[request.side]} stop was acknowledged, and is not found")
    if found is not None and left is not None:
        raise StopRejected("the stop was cancelled, and is still found")


def _may_stand(request: StopRequest) -> ExchangeError:
    return ExchangeError(f"the trial stop {request.client_order_id} may still stand: cancel it by hand")


def worst(findings: list[Finding]) -> Verdict:
    """The worst verdict of all."""
    order: list[Verdict] = ["good", "note", "warning", "failure"]
    return max((finding.verdict for finding in findings), key=order.index, default="good")
