"""What holds of a position that the exchange trails, in a simulated world."""

from __future__ import annotations

from decimal import Decimal

from inspection import Claim

from trailing.core.prices import is_crossed, is_tighter
from trailing.exchanges.paper import PaperExchange


def trails_behind_ours(exchange: PaperExchange, claim: Claim, *, rounding: Decimal) -> str | None:
    """What is wrong where the tighter one of the exchange's trailing order and our stop would trigger later than our stop would,
    had we moved it; or None. A person who tightens our stop raises what is wanted, and has raised our stop.

    Excuses: beyond the market no stop can be placed, so that ours would not be there either; and a market may round what was
    asked for by less than `rounding`.
    """
    if not claim.is_trailed_by_exchange or claim.native is None:
        return None
    symbol, side = claim.key
    trailed = exchange.actual_trailing(symbol, claim.native.client_order_id)
    if is_crossed(side, exchange.actual_price(symbol), claim.target):
        return None
    triggers = [price for price in (trailed, claim.stop_price) if price is not None]
    for trigger in triggers:
        is_rounded = abs(trigger - claim.target) < rounding
        if is_rounded or not is_tighter(side, claim.target, than=trigger):
            return None
    return f"the {side} {symbol} is trailed at {trailed}, its stop is at {claim.stop_price}, ours would be at {claim.target}"
