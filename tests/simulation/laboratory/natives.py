"""Check positions that the exchange trails."""

from __future__ import annotations

from decimal import Decimal

from inspection import Claim

from trailing.core.prices import is_crossed, is_tighter
from trailing.exchanges.paper import PaperExchange


def trails_behind_ours(exchange: PaperExchange, claim: Claim, *, rounding: Decimal) -> str | None:
    """Return a violation if the exchange's protection triggers later than a moved stop of ours would, else None.

    Its protection is the tighter one of its trailing order and our stop. A person who tightens our stop also tightens the
    wanted price.

    Excuses: a stop beyond the market can't be placed, so that ours would not be live either; and a market may round a
    requested price by less than `rounding`.
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
