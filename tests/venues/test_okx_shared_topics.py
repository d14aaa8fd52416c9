"""Two connections of prices may subscribe to one index, which a swap and an expiry future have in common."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from real_exchange import BTC, ETH, open_desk

from trailing.exchanges.ccxt.okx_protocol import OkxProtocol
from trailing.exchanges.port import StreamState

SHARED = "index-tickers:BTC-USDT"


async def test_each_connection_gets_the_reply_to_its_own_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trailing.exchanges.ccxt.websocket.SILENCE_SECONDS", 2.0)
    monkeypatch.setattr(OkxProtocol, "symbols_per_connection", 1)
    topics = OkxProtocol.topics
    monkeypatch.setattr(OkxProtocol, "topics", lambda protocol, symbol: (*topics(protocol, symbol)[:2], SHARED))
    async with open_desk("okx") as desk:
        receive, requests = desk.server.face.received, list[tuple[Any, str]]()

        def receive_together(socket: Any, text: str) -> None:
            """Confirm nothing before both connections have sent their requests."""
            if SHARED.partition(":")[0] not in text:
                receive(socket, text)
                return
            requests.append((socket, text))
            if len(requests) == 2:
                for each in requests:
                    receive(*each)

        monkeypatch.setattr(desk.server.face, "received", receive_together)
        await desk.exchange.set_subscriptions({BTC, ETH})
        async with desk.exchange.updates() as updates:
            with trio.fail_after(5):  # without a reply, a connection counts as lost after 2 s
                async for update in updates:
                    if isinstance(update, StreamState) and update.connected:
                        break
            await desk.until_subscribed(BTC, ETH)
            assert len(requests) == 2
            with trio.move_on_after(2.5):
                async for update in updates:
                    assert not isinstance(update, StreamState)
