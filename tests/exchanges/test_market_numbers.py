"""A market with a rule that can't be read is left out, and costs no other market."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from trailing.exchanges.ccxt.conversion import markets_of
from trailing.exchanges.ccxt.venues import VENUES

RAW: dict[str, Any] = {
    "contract": True,
    "linear": True,
    "quote": "USDT",
    "settle": "USDT",
    "precision": {"price": "0.1", "amount": "0.001"},
    "contractSize": "0.01",
    "limits": {"amount": {"min": "0.001"}, "cost": {"min": "5"}},
}
BAD: tuple[Any, ...] = (
    "1e400",
    "1E+999999",
    "NaN",
    "-1",
    "abc",
    "9" * 5000,
    "0",
    0,
    True,
    [],
    {},
    None,
    float("nan"),
    float("inf"),
)


def paths(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    if isinstance(value, dict):
        for name, each in value.items():
            yield from paths(each, (*path, name))


def changed(path: tuple[str, ...], value: Any, *, missing: bool) -> dict[str, Any]:
    copy: dict[str, Any] = json.loads(json.dumps(RAW))
    inner = copy
    for name in path[:-1]:
        inner = inner[name]
    if missing:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return copy


@pytest.mark.parametrize("venue", ["binanceusdm", "bybit", "gate"])
def test_fm62_no_rule_of_a_market_raises_or_costs_another_market(venue: str) -> None:
    for path in list(paths(RAW))[1:]:
        for bad in (*BAD, "missing"):
            raw = changed(path, bad, missing=bad == "missing")
            found = markets_of(VENUES[venue], {"BTC/USDT:USDT": raw, "ETH/USDT:USDT": RAW})
            assert "ETH/USDT:USDT" in found
            market = found.get("BTC/USDT:USDT")
            if market is not None:
                for figure in (market.price_tick, market.quantity_step, market.contract_size):
                    assert Decimal("1e-18") <= figure < Decimal("1e18")
