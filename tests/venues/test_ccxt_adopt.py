"""Adopt the positions of an account on a venue's local server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal as D

import pytest
from real_exchange import BTC, ETH, VENUES, Desk, open_desk
from venue_market import INSTRUMENTS, Trigger, Wanted, instrument

import trailing
from trailing import AlreadyProtected, Manager, NotAdopted, Percent, Protected, TrailPlan, UsageError, WouldAdopt

pytestmark = pytest.mark.parametrize("venue", VENUES)

PLAN = TrailPlan(initial_stop=Percent(2), trigger="last")
COINS = [instrument(f"COIN{number}", "0.01", "0.001", "5") for number in range(10)]
SYMBOLS = [f"COIN{number}/USDT:USDT" for number in range(10)]
FOREIGN = "x-somebody-1"
WRITES = ("place_stop", "amend_stop", "cancel_stop", "close_position", "cancel_all", "cancel_plain")


@asynccontextmanager
async def open_account(venue: str) -> AsyncIterator[tuple[Desk, Manager]]:
    """An account with ten longs, one of which has a stop of another program, and a manager that protects none of them."""
    async with open_desk(venue, instruments=(*INSTRUMENTS, *COINS)) as desk:
        for symbol in SYMBOLS:
            await desk.enter(symbol=symbol)
            await desk.server.move_price(symbol, D(1000), "last")
        trigger = Trigger(D(900), "last", rising=False)
        desk.server.market.place(
            Wanted(
                symbol=SYMBOLS[0],
                side="sell",
                quantity=D("0.5"),
                client_order_id=FOREIGN,
                leg="both",
                reduce_only=True,
                trigger=trigger,
            )
        )
        async with (
            trailing.open_store("memory:") as store,
            trailing.open_manager(desk.exchange, store, PLAN) as manager,
        ):
            yield desk, manager


def count(desk: Desk, *operations: str) -> int:
    return sum(len(desk.server.seen(operation)) for operation in operations)


async def test_all_positions_of_an_account_are_adopted_and_the_stop_of_another_program_stays(venue: str) -> None:
    async with open_account(venue) as (desk, manager):
        report = await manager.adopt_all(deadline=10, exclude=[SYMBOLS[9]])
        assert {outcome.symbol for outcome in report.outcomes if isinstance(outcome, Protected)} == set(SYMBOLS[:9])
        assert (len(report.outcomes), report.is_complete) == (9, True)
        stops = manager.stops()
        assert {symbol for symbol, _ in stops} == set(SYMBOLS[:9])
        assert {stop.price for stop in stops.values()} == {D(980)}
        assert desk.stops_there() == {FOREIGN, *(stop.client_order_id for stop in stops.values())}
        assert count(desk, *WRITES) == count(desk, "place_stop") == 9

        named = await manager.adopt_wave([(ETH, "long"), (SYMBOLS[9], "long"), (SYMBOLS[0], "long")], deadline=10)
        assert [type(outcome) for outcome in named.outcomes] == [NotAdopted, Protected, AlreadyProtected]
        assert count(desk, *WRITES) == count(desk, "place_stop") == 10


async def test_a_dry_run_sends_only_reads_and_names_the_stop_of_another_program(venue: str) -> None:
    async with open_account(venue) as (desk, manager):
        await desk.server.move_price(SYMBOLS[1], D(970), "last")
        before = count(desk, "positions")
        await desk.exchange.positions()
        of_one_list = count(desk, "positions") - before  # Bybit needs a request for each settlement coin
        report = await manager.adopt_all(deadline=10, dry_run=True)
        assert count(desk, "positions") - before == 2 * of_one_list
        would = {outcome.symbol: outcome for outcome in report.outcomes if isinstance(outcome, WouldAdopt)}
        assert would.keys() == set(SYMBOLS)
        assert {symbol: each.on_would_trigger for symbol, each in would.items() if each.on_would_trigger} == {
            SYMBOLS[1]: "exit"
        }
        assert [order.client_order_id for each in would.values() for order in each.foreign] == [FOREIGN]
        assert would[SYMBOLS[0]].foreign[0].price == 900
        assert (count(desk, *WRITES), desk.stops_there(), manager.stops()) == (0, {FOREIGN}, {})


async def test_a_misspelt_symbol_is_refused_with_the_one_that_is_meant(venue: str) -> None:
    async with open_account(venue) as (desk, manager):
        with pytest.raises(UsageError, match="exclude: symbol got 'COIN77/USDT:USDT'.*Did you mean COIN7/USDT:USDT"):
            await manager.adopt_all(deadline=10, exclude=["COIN77/USDT:USDT"])
        with pytest.raises(UsageError, match=r"pairs\[1\]: symbol got 'BTCUSDT'"):
            await manager.adopt_wave([(BTC, "long"), ("BTCUSDT", "long")], deadline=10)
        assert count(desk, *WRITES) == 0
