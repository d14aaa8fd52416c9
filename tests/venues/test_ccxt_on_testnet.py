"""An exchange on a test network works like the real one, and has another name."""

from __future__ import annotations

import pytest
from real_exchange import BTC, KEYS, VENUES, Desk, open_server, stop_request

from trailing import open_ccxt

HOSTS = {
    "binanceusdm": "https://demo-fapi.binance.com/",
    "bybit": "https://api-testnet.{hostname}",
    "okx": "wss://wspap.okx.com:443/ws/v5",  # requests go to the usual host, with a header
}
SETTINGS = {"binanceusdm": {}, "bybit": {}, "okx": {"demo": True}}


@pytest.mark.parametrize("venue", VENUES)
async def test_a_stop_is_placed_found_and_cancelled_on_a_testnet(venue: str) -> None:
    async with open_server(venue, **SETTINGS[venue]) as server:
        asked: list[str] = []

        def on_loopback(client: object) -> None:
            asked.append(str(client.urls["api"]))  # type: ignore[attr-defined]
            server.configure(client)

        async with open_ccxt(venue, credentials=KEYS, testnet=True, configure=on_loopback) as exchange:
            assert exchange.name == f"{venue} testnet"
            assert HOSTS[venue] in asked[0]
            await Desk(exchange, server).enter()
            placed = await exchange.place_stop(stop_request())
            assert await exchange.find_stop(BTC, placed.client_order_id) == placed
            await exchange.cancel_stop(placed)
            assert await exchange.open_stops() == []
