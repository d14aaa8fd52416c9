"""What a ccxt client would send to a venue: its requests, caught before they leave, and no network behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
from ccxt import ExchangeNotAvailable


class Contract(msgspec.Struct, frozen=True):
    """A linear contract of a venue, as little of it as ccxt needs.

    Args:
        size: base units in a contract; `amount`: the step in contracts.
        more: further fields of ccxt's market.
    """

    symbol: str
    id: str
    size: str = "1"
    tick: str = "0.1"
    amount: str = "1"
    more: Mapping[str, object] = {}


class Sent(msgspec.Struct, frozen=True):
    """A request as it would have gone over the wire."""

    method: str
    path: str
    params: Mapping[str, Any]


class Capture:
    """Stands in for a client's `fetch`. Every request is kept, and is answered by a canned reply or an error.

    Args:
        contract: the only one that there is.
        replies: by a part of the path.
    """

    def __init__(self, contract: Contract, replies: Mapping[str, object] | None = None) -> None:
        self.sent: list[Sent] = []
        self._contract = contract
        self._replies = dict(replies or {})

    def configure(self, client: Any) -> None:
        """Let a client know its market, and take its network away: for `open_ccxt(configure=…)`."""
        client.set_markets([_market(client, self._contract)])

        async def fetch(url: str, method: str = "GET", headers: object = None, body: object = None) -> Any:
            self.sent.append(_decoded(url, method, body))
            for part, reply in self._replies.items():
                if part in url:
                    return reply
            raise ExchangeNotAvailable("captured")

        client.fetch = fetch

    async def only(self, call: Callable[[], Any]) -> Sent:
        """What one call sends, and that it sends no more."""
        self.sent.clear()
        await call()
        (sent,) = self.sent
        return sent


def _market(client: Any, contract: Contract) -> Any:
    base, _, rest = contract.symbol.partition("/")
    quote, _, settle = rest.partition(":")
    return client.safe_market_structure(
        {
            "id": contract.id,
            "symbol": contract.symbol,
            "base": base,
            "quote": quote,
            "settle": settle,
            "baseId": base,
            "quoteId": quote,
            "settleId": settle,
            "type": "swap",
            "spot": False,
            "margin": False,
            "swap": True,
            "future": False,
            "option": False,
            "active": True,
            "contract": True,
            "linear": True,
            "inverse": False,
            "contractSize": client.parse_number(contract.size),
            "precision": {
                "amount": client.parse_number(contract.amount),
                "price": client.parse_number(contract.tick),
            },
            "limits": {},
            "info": {},
            **contract.more,
        }
    )


def _decoded(url: str, method: str, body: object) -> Sent:
    target = urlsplit(url)
    params: dict[str, Any] = dict(parse_qsl(target.query, keep_blank_values=True))
    if isinstance(body, str) and body.startswith(("{", "[")):
        decoded = msgspec.json.decode(body)
        params |= decoded if isinstance(decoded, dict) else {"": decoded}
    elif isinstance(body, str):
        params |= dict(parse_qsl(body, keep_blank_values=True))
    return Sent(method, target.path, params)
