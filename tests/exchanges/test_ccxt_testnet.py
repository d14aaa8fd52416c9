"""On a test network nothing is sent to the real exchange."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from ccxt import pro

from trailing import Credentials, open_ccxt
from trailing.exchanges.ccxt.venues import VENUES

KEYS = Credentials("0x" + "1" * 40, "0x" + "2" * 64, "password")
# The usual address with a header for the test network: x-simulated-trading, and PAPTRADING by an option.
BY_HEADER = {"okx", "bitget"}


class EnoughSeen(Exception):
    """Raised after the client was created, so that nothing uses it."""


def addresses(urls: Any) -> Iterator[str]:
    if isinstance(urls, Mapping):
        for each in urls.values():
            yield from addresses(each)
    else:
        yield urls


@pytest.mark.parametrize("venue", [name for name, row in VENUES.items() if row.client.testnet_method is not None])
async def test_a_testnet_has_other_addresses_or_a_header_in_every_request(venue: str) -> None:
    made = []

    def look(client: Any) -> None:
        made.append(client)
        raise EnoughSeen

    for testnet in (False, True):
        with pytest.raises(EnoughSeen):
            async with open_ccxt(venue, credentials=KEYS, testnet=testnet, allow_unverified=True, configure=look):
                raise AssertionError("it was opened")
    live, test = made
    assert set(addresses(live.urls["api"])) == set(addresses(getattr(pro, venue)().urls["api"]))
    if venue not in BY_HEADER:
        assert not set(addresses(live.urls["api"])) & set(addresses(test.urls["api"]))
        return
    private = {"okx": ("trade/order-algo", "private"), "bitget": ("v2/mix/order/place-plan-order", ["private", "mix"])}
    headers = {}
    for name, client in (("live", live), ("test", test)):
        path, api = private[venue]
        signed = client.sign(path, api, "POST", {"instId": "BTC-USDT-SWAP"})["headers"]
        headers[name] = client.prepare_request_headers(signed)
    words = {"x-simulated-trading": "1"} if venue == "okx" else {"PAPTRADING": "1"}
    assert words.items() <= headers["test"].items()
    assert not words.keys() & headers["live"].keys()
