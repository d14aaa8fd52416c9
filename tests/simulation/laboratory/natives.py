"""What holds of a position that the exchange trails, in a simulated world."""

from __future__ import annotations

from decimal import Decimal

from inspection import Claim

from trailing.core.prices import is_crossed, is_tighter
from trailing.exchanges.paper import PaperExchange


def trails_behind_ours(exchange: PaperExchange, claim: Claim, *, rounding: Decimal) -> str | None:
    """What is wrong where the exchange would trigger later than our stop would, had we moved it; or None.

    Excuses: beyond the market no stop can be placed, so that ours would not be there either; and a market may round what was
    asked for by less than `rounding`.
    """
    if not claim.is_trailed_by_exchange or claim.native is None:
        return None
    symbol, side = claim.key
    trailed = exchange.actual_trailing(symbol, claim.native.client_order_id)
    if is_crossed(side, exchange.actual_price(symbol), claim.target):
        return None
    standing = claim.stop_price if trailed is None else trailed
    if standing is not None:
        is_rounded = abs(standing - claim.target) < rounding
        if is_rounded or not is_tighter(side, claim.target, than=standing):
            return None
    return f"the {side} {symbol} is trailed at {standing}, ours would be at {claim.target}"
