"""Bybit's JSON for orders, positions, fills and markets."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from binance_shapes import number
from bybit_market import PositionStop
from venue_candles import Bar
from venue_market import Holding, Instrument, Leg, Order, VenueFill, VenueMarket, Wanted

from trailing.core.model import Source

TRIGGERS: Mapping[str, Source] = {"LastPrice": "last", "MarkPrice": "mark", "IndexPrice": "index"}
TRIGGER_BY: Mapping[Source, str] = {source: name for name, source in TRIGGERS.items()}
LEGS: Mapping[str, Leg] = {"0": "both", "1": "long", "2": "short"}
POSITION_IDX: Mapping[Leg, int] = {leg: int(name) for name, leg in LEGS.items()}
STATUS: Mapping[str, str] = {
    "live": "New",
    "triggered": "Triggered",
    "partial": "PartiallyFilled",
    "filled": "Filled",
    "cancelled": "Cancelled",
    "rejected": "Rejected",
}
STOP_STATUS: Mapping[str, str] = {**STATUS, "live": "Untriggered", "cancelled": "Deactivated"}


def order_id(order: Order) -> str:
    """Return an id in the venue's form."""
    return f"{order.number:08x}-0000-4000-8000-000000000000"


def order_number(text: str) -> int:
    """Return the number in such an id; -1 if it is none."""
    head = text.partition("-")[0]
    return int(head, 16) if head and set(head) <= set("0123456789abcdef") else -1


def shown_order(order: Order, market: VenueMarket) -> dict[str, object]:
    """Return a stop or a market order."""
    wanted, trigger = order.wanted, order.wanted.trigger
    status = STATUS if trigger is None else STOP_STATUS
    shown: dict[str, object] = {
        "category": "linear",
        "symbol": market.instruments[wanted.symbol].id,
        "orderId": order_id(order),
        "orderLinkId": wanted.client_order_id,
        "side": wanted.side.capitalize(),
        "orderType": "Market" if wanted.limit is None else "Limit",
        "orderStatus": status[order.status],
        "cancelType": "UNKNOWN",
        "rejectReason": "EC_ReduceOnlyReject" if order.status == "rejected" else "EC_NoError",
        "createType": "CreateByUser",
        "price": number(wanted.limit or Decimal(0)),
        "qty": number(wanted.quantity),
        "avgPrice": number(order.average) if order.filled else "",
        "leavesQty": number(wanted.quantity - order.filled) if order.is_open else "0",
        "cumExecQty": number(order.filled),
        "cumExecValue": number(order.cost),
        "cumExecFee": "0",
        "timeInForce": "IOC" if wanted.limit is None else "GTC",
        "positionIdx": POSITION_IDX[wanted.leg],
        "reduceOnly": wanted.reduce_only,
        "closeOnTrigger": False,
        "lastPriceOnCreated": "",
        "stopOrderType": "",
        "triggerPrice": "",
        "triggerBy": "",
        "triggerDirection": 0,
        "takeProfit": "",
        "stopLoss": "",
        "tpslMode": "",
        "createdTime": str(order.created_at),
        "updatedTime": str(order.updated_at),
    }
    if trigger is not None:
        shown |= {
            "stopOrderType": "Stop",
            "triggerPrice": number(trigger.price),
            "triggerBy": TRIGGER_BY[trigger.source],
            "triggerDirection": 1 if trigger.rising else 2,
        }
    if wanted.attached is not None and wanted.attached.trigger is not None:
        stop = wanted.attached.trigger
        shown |= {"stopLoss": number(stop.price), "slTriggerBy": TRIGGER_BY[stop.source], "tpslMode": "Full"}
    if isinstance(wanted, PositionStop):
        shown |= {
            "stopOrderType": "StopLoss",
            "createType": "CreateByStopLoss",
            "parentOrderLinkId": wanted.parent,
            "qty": number(wanted.stated),
            "leavesQty": number(wanted.stated - order.filled) if order.is_open else "0",
            "tpslMode": "Full",
            "closeOnTrigger": True,
        }
    return shown


def execution(fill: VenueFill, order: Order, market: VenueMarket) -> dict[str, object]:
    """Return a fill of an order. The fill of a stop has the stop's ids."""
    wanted = order.wanted
    return {
        "category": "linear",
        "symbol": market.instruments[wanted.symbol].id,
        "execId": f"execution-{fill.number}",
        "execPrice": number(fill.price),
        "execQty": number(fill.quantity),
        "execValue": number(fill.price * fill.quantity),
        "execFee": "0",
        "execType": "Trade",
        "execTime": str(fill.at),
        "feeRate": "0",
        "isMaker": False,
        "orderId": order_id(order),
        "orderLinkId": wanted.client_order_id,
        "orderPrice": "0",
        "orderQty": number(wanted.quantity),
        "orderType": "Market" if wanted.limit is None else "Limit",
        "stopOrderType": _stop_type(wanted),
        "side": wanted.side.capitalize(),
        "leavesQty": number(wanted.quantity - order.filled) if order.status == "partial" else "0",
        "closedSize": number(fill.quantity if market.reduces(wanted) else Decimal(0)),
    }


def _stop_type(wanted: Wanted) -> str:
    if wanted.trigger is None:
        return "UNKNOWN"
    return "StopLoss" if isinstance(wanted, PositionStop) else "Stop"


def position(
    symbol: str, leg: Leg, holding: Holding, market: VenueMarket, *, pushed: bool = False
) -> dict[str, object]:
    """Return a position. In a pushed one, the entry price has another name."""
    mark = market.prices.get((symbol, "mark"), Decimal(0))
    side = "Buy" if holding.quantity > 0 else "Sell" if holding.quantity < 0 else ""
    return {
        "category": "linear",
        "symbol": market.instruments[symbol].id,
        "positionIdx": POSITION_IDX[leg],
        "side": side,
        "size": number(abs(holding.quantity)),
        "entryPrice" if pushed else "avgPrice": number(holding.entry_price) if holding.quantity else "0",
        "positionValue": number(abs(holding.quantity) * holding.entry_price),
        "markPrice": number(mark),
        "unrealisedPnl": number((mark - holding.entry_price) * holding.quantity),
        "cumRealisedPnl": "0",
        "liqPrice": "",
        "bustPrice": "",
        "leverage": market.settings.leverage("short" if leg == "short" else "long", symbol),
        "positionIM": "0",
        "positionMM": "0",
        "positionStatus": "Normal",
        "tradeMode": 0,
        "stopLoss": "",
        "takeProfit": "",
        "trailingStop": "0",
        "tpslMode": "Full",
        "createdTime": str(market.now()),
        "updatedTime": str(market.now()),
    }


def ticker(each: Instrument, market: VenueMarket) -> dict[str, object]:
    """Return all prices of a symbol."""
    last, mark, index = (
        number(market.prices.get((each.symbol, source), Decimal(0))) for source in ("last", "mark", "index")
    )
    return {"symbol": each.id, "lastPrice": last, "markPrice": mark, "indexPrice": index, "fundingRate": "0.0001"}


def kline(each: Bar, *, traded: bool) -> list[str]:
    """Return a candle. Candles of mark and index prices have no volume."""
    prices = [number(price) for price in (each.open, each.high, each.low, each.close)]
    return [str(each.opened_at), *prices, *(["0", "0"] if traded else [])]


def shown_instrument(each: Instrument) -> dict[str, object]:
    """Return a market."""
    step = number(each.quantity_step)
    return {
        "symbol": each.id,
        "contractType": "LinearPerpetual",
        "status": "Trading",
        "baseCoin": each.base,
        "quoteCoin": "USDT",
        "settleCoin": "USDT",
        "launchTime": "1585526400000",
        "deliveryTime": "0",
        "deliveryFeeRate": "",
        "priceScale": "2",
        "leverageFilter": {"minLeverage": "1", "maxLeverage": "100.00", "leverageStep": "0.01"},
        "priceFilter": {
            "minPrice": number(each.price_tick),
            "maxPrice": "1999999.80",
            "tickSize": number(each.price_tick),
        },
        "lotSizeFilter": {
            "maxOrderQty": "1000000",
            "minOrderQty": step,
            "qtyStep": step,
            "maxMktOrderQty": "1000000",
            "minNotionalValue": number(each.min_notional),
        },
        "unifiedMarginTrade": True,
        "fundingInterval": 480,
    }
