"""Checks of an account before a bot relies on it: what could prevent that a stop is placed."""

from __future__ import annotations

import math
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Final, Literal, TypeAlias

import msgspec
import trio

from trailing.core.account import PositionReport
from trailing.core.model import Percent, Side, Source, StopOrder, Tick
from trailing.core.prices import behind, floor_quantity, round_stop
from trailing.errors import ExchangeError, OutcomeUnknown, StopRejected, TrailingError, UsageError
from trailing.exchanges.ccxt.clock import skew_text
from trailing.exchanges.ccxt.conversion import CLOSING, number
from trailing.exchanges.ccxt.dead_man_switches import read_dead_man_switch
from trailing.exchanges.ccxt.exchange import CcxtExchange
from trailing.exchanges.ccxt.permissions import PERMISSION_READERS
from trailing.exchanges.port import StopRequest, escaped

Verdict: TypeAlias = Literal["good", "note", "warning", "failure"]

CLOCK_OFF: Final = 1.0
"""Seconds by which a request's time may be ahead on Binance and Bybit (OKX allows more). Our requests are
corrected, those of other programs may not be."""

STREAM_SECONDS: Final = 10.0
"""Seconds within which the first price must arrive. After the same time a silent connection counts as lost."""

CLEANUP_SECONDS: Final = 30.0
"""Seconds within which the trial stop must be cancelled, waits for the rate limit included."""

FAR_AWAY: Final = Percent("20")
"""Distance of the trial stop behind the price."""


class Finding(msgspec.Struct, frozen=True):
    """The result of one check.

    Args:
        subject: what was checked.
        verdict: ``"good"``; ``"note"``: for your information, or it can't be checked; ``"warning"``: it works, with a risk;
            ``"failure"``: stops can't be relied on.
        message: the result in words.
        seconds: the time that was measured; None: none was.
    """

    subject: str
    verdict: Verdict
    message: str
    seconds: float | None = None


async def examine(exchange: CcxtExchange, *, symbol: str, place: bool) -> AsyncIterator[Finding]:
    """Run all checks one after the other, and yield their findings. A check that fails is a finding too.

    Args:
        exchange: the account.
        symbol: the market whose stream is checked, and where a stop is placed.
        place: place a stop far behind an open position of that symbol, look it up, and cancel it.

    Cancellation: a trial stop is cancelled first, within `CLEANUP_SECONDS`.
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
        ("orders", _orders),
        ("switch", _switch),
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
        return [Finding("venue", "good", f"{exchange.name}: tested with a server that behaves like it")]
    message = (
        f"{exchange.name} is unverified: only its requests were checked, and no stop of ours was ever triggered there"
    )
    return [Finding("venue", "warning", message)]


async def _clock(exchange: CcxtExchange, _: str) -> list[Finding]:
    requested_at, started = datetime.now(UTC), trio.current_time()
    venue_time = await exchange.session.call("time", "fetch_time")
    round_trip = trio.current_time() - started
    skew = int(venue_time) / 1000 - requested_at.timestamp() - round_trip / 2
    verdict: Verdict = "good" if abs(skew) < CLOCK_OFF else "warning"
    message = f"the exchange's clock differs by {skew:+.3f} s, a round trip takes {round_trip * 1000:.0f} ms"
    if meaning := skew_text(exchange.venue, skew):
        message = f"{message}; {meaning}"
    return [Finding("clock", verdict, message, skew)]


async def _permissions(exchange: CcxtExchange, _: str) -> list[Finding]:
    read = PERMISSION_READERS.get(exchange.venue.name)
    if read is None:
        return [
            Finding(
                "permissions",
                "note",
                "unknown on this venue: check on its website that the key has no right to withdraw",
            )
        ]
    try:
        rights = await read(exchange)
    except ExchangeError as error:
        return [Finding("permissions", "note", f"the venue did not state them: {error}")]
    findings = []
    if not rights.may_trade:
        findings.append(
            Finding(
                "permissions", "failure", "the key has no permission to trade futures: add it, or no stop can be placed"
            )
        )
    if rights.may_withdraw:
        findings.append(
            Finding("permissions", "warning", "the key may withdraw: remove that permission, it is not needed")
        )
    if not rights.restricted:
        findings.append(Finding("permissions", "warning", "the key works from every IP address: restrict it to yours"))
    return findings or [
        Finding("permissions", "good", "the key may trade futures, may not withdraw, and is restricted to IP addresses")
    ]


async def _mode(exchange: CcxtExchange, _: str) -> list[Finding]:
    if exchange.venue.account.mode_from is None:
        return [
            Finding("mode", "note", "the venue does not state it; one-way mode is assumed, so set the account to it")
        ]
    word = (
        "hedge mode: a long and a short position of one symbol may be open at the same time"
        if exchange.hedged
        else "one-way mode"
    )
    return [Finding("mode", "good", word)]


async def _margin(exchange: CcxtExchange, _: str) -> list[Finding]:
    """Check the margin mode: of the account where the venue states it, otherwise of each open position."""
    venue, call = exchange.venue, exchange.session.call
    if venue.name == "bybit":
        word = (await call("account", "privateGetV5AccountInfo"))["result"]["marginMode"]
        return [Finding("margin", "good", f"{_BYBIT_MARGINS.get(word) or escaped(str(word))}, for the whole account")]
    rows = [
        row for params in venue.lists.positions for row in await call("positions", "fetch_positions", None, {**params})
    ]
    modes = {row["symbol"]: row.get("marginMode") or "unknown" for row in rows if number(row.get("contracts"))}
    if not modes:
        return [Finding("margin", "note", "the venue states it for open positions only, and there are none")]
    only = venue.account.margin_mode
    other = {None: None, "cross": "isolated", "isolated": "cross"}[only]
    uncovered = other in modes.values()
    message = ", ".join(f"{escaped(str(symbol))} {escaped(str(mode))}" for symbol, mode in sorted(modes.items()))
    if uncovered:
        message = f"stops are sent for {only} margin and do not protect {other} positions: {message}"
    return [Finding("margin", "failure" if uncovered else "good", message)]


_BYBIT_MARGINS: Mapping[str, str] = {
    "REGULAR_MARGIN": "cross",
    "ISOLATED_MARGIN": "isolated",
    "PORTFOLIO_MARGIN": "portfolio",
}


async def _market(exchange: CcxtExchange, symbol: str) -> list[Finding]:
    market = exchange.market(symbol)
    sources: list[Source] = ["last", "mark", "index"]
    triggers = ", ".join(source for source in sources if source in exchange.venue.stops.sources)
    moves = "a stop is moved in place" if market.can_amend else "a move places a new stop, then cancels the old one"
    message = (
        f"{symbol}: tick {market.price_tick}, step {market.quantity_step}, minimum quantity {market.min_quantity}; stops "
        f"trigger by {triggers}; {moves}"
    )
    return [Finding("market", "good", message)]


async def _positions(exchange: CcxtExchange, _: str) -> list[Finding]:
    reports = await exchange.positions()
    findings = [Finding("positions", "good", f"{len(reports)} open")]
    for report in reports:
        market = exchange.market(report.symbol)
        least = max(market.min_quantity, market.quantity_step)
        if report.quantity < least:
            message = f"{report.symbol} {report.side}: quantity {report.quantity} is below the minimum of a stop ({least}), so it can't be protected"
            findings.append(Finding("positions", "warning", message))
    return findings


async def _stops(exchange: CcxtExchange, _: str) -> list[Finding]:
    stops = await exchange.open_stops()
    held = {(report.symbol, report.side) for report in await exchange.positions()}
    most = exchange.venue.stops.most_stops
    findings = [Finding("stops", "good", f"{len(stops)} live" + ("" if most is None else f", of at most {most}"))]
    if most is not None and len(stops) >= most:
        findings = [
            Finding("stops", "warning", f"{len(stops)} live, as many as the venue allows: no other one can be placed")
        ]
    findings += [
        Finding(
            "stops",
            "warning",
            f"{stop.symbol} {stop.side}: stop {escaped(stop.client_order_id)} has no position: cancel it if you did not place it",
        )
        for stop in stops
        if (stop.symbol, stop.side) not in held
    ]
    return findings


async def _orders(exchange: CcxtExchange, symbol: str) -> list[Finding]:
    """List the open orders of the symbol, and find those that cover a part of any open position."""
    held: dict[str, set[Side]] = {symbol: set()}
    for report in await exchange.positions():
        held.setdefault(report.symbol, set()).add(report.side)
    findings: list[Finding] = []
    for each, sides in held.items():
        try:
            orders = await exchange.open_orders(each)
        except ExchangeError as error:
            text = f"the open orders of {each} can't be read, which protection does not need: {error}"
            findings.append(Finding("orders", "note", text))
            continue
        if each == symbol:
            findings.append(Finding("orders", "good", f"{each}: {len(orders)} open"))
        findings += [
            Finding(
                "orders",
                "warning",
                f"{each} {order.side}: {order.kind} {order.order_side} {order.quantity} at {order.price} "
                f"({order.client_order_id or order.order_id}) covers its part of the position: the exchange may refuse exits and stops",
            )
            for order in orders
            if order.side in sides and order.covers_position
        ]
    return findings


async def _switch(exchange: CcxtExchange, _: str) -> list[Finding]:
    """Look for a dead-man's switch, because it would cancel protective stops, too."""
    try:
        state = await read_dead_man_switch(exchange)
    except ExchangeError as error:
        return [Finding("switch", "note", f"the venue did not state whether a dead-man's switch is armed: {error}")]
    return [Finding("switch", state.verdict, state.message)]


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
        return [Finding("stream", "failure", f"no price of {symbol} within {STREAM_SECONDS:g} s", seconds)]
    return [Finding("stream", "good", f"the first price of {symbol} arrived after {seconds:.2f} s", seconds)]


async def _placing(exchange: CcxtExchange, symbol: str) -> list[Finding]:
    report = next((report for report in await exchange.positions() if report.symbol == symbol), None)
    if report is None:
        message = f"no open position in {symbol}: a trial stop is reduce-only and needs one"
        return [Finding("placing", "note", message)]
    findings = []
    for source in exchange.venue.stops.sources:
        try:
            findings.append(await _place_and_cancel(exchange, report, source))
        except (ExchangeError, UsageError) as error:
            findings.append(Finding("placing", "failure", f"{symbol} {report.side} by the {source} price: {error}"))
        if trio.current_effective_deadline() == -math.inf:
            break  # cancelled; the findings are returned, because they may name a stop that is still live
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
    may_be_live = True
    try:
        order = await exchange.place_stop(request)
        seconds = trio.current_time() - started
    except OutcomeUnknown:
        raise
    except (ExchangeError, UsageError):
        may_be_live = False
        raise
    finally:
        if may_be_live:
            with trio.move_on_after(CLEANUP_SECONDS, shield=True) as scope:
                await _cancel_trial_stop(exchange, request, order)
            if scope.cancelled_caught:
                raise _may_be_live(request)
    placed = f"{request.symbol} {request.side} at {request.price} by the {source} price"
    return Finding("placing", "good", f"{placed}: placed in {seconds * 1000:.0f} ms, found and cancelled", seconds)


async def _cancel_trial_stop(exchange: CcxtExchange, request: StopRequest, order: StopOrder | None) -> None:
    """Cancel the trial stop. One that was acknowledged must be found."""
    try:
        await trio.sleep(exchange.orders_read_lag)
        found = await exchange.find_stop(request.symbol, request.client_order_id)
        if found is None and order is None:  # unknown outcome: it may still be executed
            await trio.sleep(exchange.request_validity)
            found = await exchange.find_stop(request.symbol, request.client_order_id)
        if found is not None:
            await exchange.cancel_stop(found)
            await trio.sleep(exchange.orders_read_lag)
            left = await exchange.find_stop(request.symbol, request.client_order_id)
    except ExchangeError as error:
        raise _may_be_live(request) from error
    if found is None and order is not None:
        raise StopRejected(
            f"{request.symbol}: the {CLOSING[request.side]} stop {request.client_order_id} was acknowledged, but a look-up does not find it"
        )
    if found is not None and left is not None:
        raise StopRejected(
            f"{request.symbol}: the stop {request.client_order_id} was cancelled, but a look-up still finds it"
        )


def _may_be_live(request: StopRequest) -> ExchangeError:
    return ExchangeError(f"{request.symbol}: the trial stop {request.client_order_id} may be live: cancel it by hand")


def worst(findings: list[Finding]) -> Verdict:
    """Return the worst verdict of some findings; "good" if there are none."""
    order: list[Verdict] = ["good", "note", "warning", "failure"]
    return max((finding.verdict for finding in findings), key=order.index, default="good")
