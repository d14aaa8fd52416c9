"""Binance's JSON for orders, positions, fills and markets."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from venue_candles import MINUTE, Bar
from venue_market import Holding, Instrument, Leg, Order, OrderStatus, VenueFill, VenueMarket

from trailing.core.model import Source

WORKING_TYPES: Mapping[str, Source] = {"CONTRACT_PRICE": "last", "MARK_PRICE": "mark"}
WORKING_TYPE: Mapping[Source, str] = {source: name for name, source in WORKING_TYPES.items()}
ALGO_STATUS: Mapping[str, str] = {
    "live": "NEW",
    "triggered": "TRIGGERED",
    "partial": "TRIGGERED",
    "filled": "FINISHED",
    "cancelled": "CANCELED",
    "rejected": "REJECTED",
}
PLAIN_STATUS: Mapping[str, str] = {
    "live": "NEW",
    "partial": "PARTIALLY_FILLED",
    "filled": "FILLED",
    "cancelled": "CANCELED",
}


def number(value: Decimal) -> str:
    """Return a number as text without an exponent."""
    return format(value, "f")


def algo_order(order: Order, market: VenueMarket) -> dict[str, object]:
    """Return a conditional order."""
    wanted, trigger, execution = order.wanted, order.wanted.trigger, order.execution
    assert trigger is not None
    shown: dict[str, object] = {
        "algoId": order.number,
        "clientAlgoId": wanted.client_order_id,
        "algoType": "CONDITIONAL",
        "orderType": "STOP_MARKET" if trigger.callback is None else "TRAILING_STOP_MARKET",
        "symbol": market.instruments[wanted.symbol].id,
        "side": wanted.side.upper(),
        "positionSide": wanted.leg.upper(),
        "timeInForce": "GTC",
        "quantity": number(wanted.quantity),
        "algoStatus": "TRIGGERING" if order.status == "triggered" and execution is None else ALGO_STATUS[order.status],
        "actualOrderId": "" if execution is None else str(execution.number),
        "actualPrice": number(order.average),
        "triggerPrice": number(trigger.price) if trigger.callback is None else trailed(order),
        "price": "0.00",
        "icebergQuantity": None,
        "selfTradePreventionMode": "EXPIRE_MAKER",
        "workingType": WORKING_TYPE[trigger.source],
        "priceMatch": "NONE",
        "closePosition": False,
        "priceProtect": False,
        "reduceOnly": wanted.reduce_only,
        "createTime": order.created_at,
        "updateTime": order.updated_at,
        "triggerTime": 0 if execution is None else execution.created_at,
        "goodTillDate": 0,
    }
    if trigger.callback is not None:
        shown |= {"activatePrice": number(trigger.price), "callbackRate": number(trigger.callback)}
    if execution is not None:
        shown |= {"actualQty": number(order.filled), "actualType": "MARKET"}
    return shown


def trailed(order: Order) -> str:
    """Return a trailing order's present trigger price, which is not its activation price."""
    trigger = order.wanted.trigger
    assert trigger is not None
    return "0.00" if order.best is None else number(trigger.behind(order.best).price)


def plain_order(order: Order, market: VenueMarket, *, acknowledged: bool = False) -> dict[str, object]:
    """Return a plain order. `acknowledged`: as in the reply before it is matched."""
    wanted = order.wanted
    kind = "MARKET" if wanted.limit is None else "LIMIT"
    filled, cost = (Decimal(0), Decimal(0)) if acknowledged else (order.filled, order.cost)
    return {
        "orderId": order.number,
        "clientOrderId": wanted.client_order_id,
        "symbol": market.instruments[wanted.symbol].id,
        "status": "NEW" if acknowledged else plain_status(order, order.status),
        "price": number(wanted.limit or Decimal(0)),
        "avgPrice": "0.00" if acknowledged else number(order.average),
        "origQty": number(wanted.quantity),
        "executedQty": number(filled),
        "cumQuote": number(cost),
        "timeInForce": "GTC",
        "type": kind,
        "origType": kind,
        "reduceOnly": wanted.reduce_only,
        "closePosition": False,
        "side": wanted.side.upper(),
        "positionSide": wanted.leg.upper(),
        "stopPrice": "0",
        "workingType": "CONTRACT_PRICE",
        "priceProtect": False,
        "time": order.created_at,
        "updateTime": order.updated_at,
    }


def plain_status(order: Order, status: OrderStatus) -> str:
    """Return the word for a plain order's status. What the market could not fill of an order at market expires."""
    return "EXPIRED" if status == "cancelled" and order.wanted.limit is None else PLAIN_STATUS[status]


def trade(fill: VenueFill, market: VenueMarket) -> dict[str, object]:
    """Return a fill of the account."""
    wanted = fill.order.wanted
    return {
        "id": fill.number,
        "orderId": fill.order.number,
        "symbol": market.instruments[wanted.symbol].id,
        "side": wanted.side.upper(),
        "positionSide": wanted.leg.upper(),
        "price": number(fill.price),
        "qty": number(fill.quantity),
        "quoteQty": number(fill.price * fill.quantity),
        "realizedPnl": "0",
        "commission": "0",
        "commissionAsset": "USDT",
        "buyer": wanted.side == "buy",
        "maker": False,
        "time": fill.at,
    }


def position_risk(symbol: str, leg: Leg, holding: Holding, market: VenueMarket) -> dict[str, object]:
    """Return a position."""
    mark = market.prices[symbol, "mark"]
    return {
        "symbol": market.instruments[symbol].id,
        "positionSide": leg.upper(),
        "positionAmt": number(holding.quantity),
        "entryPrice": number(holding.entry_price),
        "breakEvenPrice": number(holding.entry_price),
        "markPrice": number(mark),
        "unRealizedProfit": number((mark - holding.entry_price) * holding.quantity),
        "liquidationPrice": "0",
        "isolatedMargin": "0",
        "notional": number(mark * holding.quantity),
        "marginAsset": "USDT",
        "isolatedWallet": "0",
        "initialMargin": "0",
        "maintMargin": "0",
        "positionInitialMargin": "0",
        "openOrderInitialMargin": "0",
        "adl": 1,
        "bidNotional": "0",
        "askNotional": "0",
        "updateTime": market.now(),
    }


def bar(each: Bar, length: int = MINUTE) -> list[object]:
    """Return a candle."""
    prices = (number(price) for price in (each.open, each.high, each.low, each.close))
    return [each.opened_at, *prices, "0", each.opened_at + length - 1, "0", 0, "0", "0", "0"]


def exchange_info(market: VenueMarket, now: int, weight_limit: int) -> dict[str, object]:
    """Return the markets."""
    limits = [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": weight_limit}]
    symbols = [_symbol(each, market.most_stops) for each in market.instruments.values()]
    return {"timezone": "UTC", "serverTime": now, "rateLimits": limits, "assets": [], "symbols": symbols}


def _symbol(each: Instrument, most_stops: int) -> dict[str, object]:
    tick, step = number(each.price_tick), number(each.quantity_step)
    lot = {"minQty": step, "maxQty": "1000000", "stepSize": step}
    return {
        "symbol": each.id,
        "pair": each.id,
        "contractType": "PERPETUAL",
        "deliveryDate": 4133404800000,
        "onboardDate": 1569398400000,
        "status": "TRADING",
        "baseAsset": each.base,
        "quoteAsset": "USDT",
        "marginAsset": "USDT",
        "pricePrecision": 8,  # not the tick: a price rounded to it is refused
        "quantityPrecision": 8,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "10000000", "tickSize": tick},
            {"filterType": "LOT_SIZE", **lot},
            {"filterType": "MARKET_LOT_SIZE", **lot},
            {"filterType": "MAX_NUM_ORDERS", "limit": 200},
            {"filterType": "MAX_NUM_ALGO_ORDERS", "limit": most_stops},
            {"filterType": "MIN_NOTIONAL", "notional": number(each.min_notional)},
        ],
        "orderTypes": [
            "LIMIT",
            "MARKET",
            "STOP",
            "STOP_MARKET",
            "TAKE_PROFIT",
            "TAKE_PROFIT_MARKET",
            "TRAILING_STOP_MARKET",
        ],
        "timeInForce": ["GTC", "IOC", "FOK", "GTX", "GTD"],
    }
