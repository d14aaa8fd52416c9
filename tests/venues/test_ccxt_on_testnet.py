"""An exchange on a test network works like the real one, and has another name."""

from __future__ import annotations

import pytest
from real_exchange import BTC, VENUES, Desk, open_server, stop_request
from venue_server import API_KEY, SECRET

from trailing import Credentials, open_ccxt

HOSTS = {"binanceusdm": "https://demo-fapi.binance.com/", "bybit": "https://api-testnet.{hostname}"}


@pytest.mark.parametrize("venue", VENUES)
async def test_a_stop_is_placed_found_and_cancelled_on_a_testnet(venue: str) -> None:
    async with open_server(venue) as server:
        asked: list[str] = []

        def on_loopback(client: object) -> None:
            asked.append(str(client.urls["api"]))  # type: ignore[attr-defined]
            server.configure(client)

        keys = Credentials(API_KEY, SECRET)
        async with open_ccxt(venue, credentials=keys, testnet=True, configure=on_loopback) as exchange:
            assert exchange.name == f"{venue} testnet"
            assert HOSTS[venue] in asked[0]
            await Desk(exchange, server).enter()
            placed = await exchange.place_stop(stop_request())
            assert await exchange.find_stop(BTC, placed.client_order_id) == placed
            await exchange.cancel_stop(placed)
            assert await exchange.open_stops() == []
