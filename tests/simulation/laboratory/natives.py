"""What holds of a position that the exchange trails, in a simulated world."""

from __future__ import annotations

from trailing.core.prices import is_tighter
from trailing.core.stop import TrailingStop
from trailing.exchanges.paper import PaperExchange


def trails_behind_ours(exchange: PaperExchange, stop: TrailingStop) -> str | None:
    """What is wrong where the exchange would trigger later than our stop would, had we moved it; or None."""
    if not stop.native_trails or stop.native is None:
        return None
    symbol, side = stop.position.symbol, stop.position.side
    trailed = exchange.actual_trailing(symbol, stop.native.client_order_id)
    standing = stop.price if trailed is None else trailed
    if standing is not None and not is_tighter(side, stop.target, than=standing):
        return None
    return f"the {side} {symbol} is trailed at {standing}, ours would be at {stop.target}"
