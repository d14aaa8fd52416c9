"""The values refuse what can't be right when they are built, and say which field, what it got and what it wants."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from trailing.core.model import Candle, Fill, Market, Percent, Position, StopOrder, Tick
from trailing.errors import TrailingError, UsageError

OPENED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

RIGHT: dict[type[msgspec.Struct], dict[str, Any]] = {
    Position: {
        "symbol": "BTC/USDT:USDT",
        "side": "long",
        "quantity": Decimal("0.5"),
        "entry_price": Decimal(60000),
        "opened_at": OPENED,
        "stop_price": Decimal(59000),
        "id": "first",
    },
    Tick: {"symbol": "BTC/USDT:USDT", "price": Decimal(60000), "at": 1.0, "source": "mark"},
    Candle: {
        "symbol": "BTC/USDT:USDT",
        "opened_at": OPENED,
        "seconds": 60.0,
        "open": Decimal(10),
        "high": Decimal(12),
        "low": Decimal(9),
        "close": Decimal(11),
        "source": "index",
    },
    Market: {
        "symbol": "BTC/USDT:USDT",
        "price_tick": Decimal("0.1"),
        "quantity_step": Decimal("0.001"),
        "min_quantity": Decimal(0),
        "min_notional": Decimal(5),
        "contract_size": Decimal(1),
    },
    StopOrder: {
        "symbol": "BTC/USDT:USDT",
        "side": "short",
        "quantity": Decimal(1),
        "price": Decimal(61000),
        "client_order_id": "t1",
        "order_id": "1",
        "source": "last",
    },
    Fill: {
        "symbol": "BTC/USDT:USDT",
        "side": "short",
        "quantity": Decimal(1),
        "price": Decimal(61000),
        "order_id": "1",
        "client_order_id": "t1",
        "at": 1.0,
    },
}

MONEY = [
    (Position, "quantity"),
    (Position, "entry_price"),
    (Position, "stop_price"),
    (Tick, "price"),
    (Candle, "open"),
    (Candle, "high"),
    (Candle, "low"),
    (Candle, "close"),
    (Market, "price_tick"),
    (Market, "quantity_step"),
    (Market, "contract_size"),
    (StopOrder, "quantity"),
    (StopOrder, "price"),
    (Fill, "quantity"),
    (Fill, "price"),
]
SYMBOLS = [(kind, "symbol") for kind in RIGHT]
SIDES = [(Position, "side"), (StopOrder, "side"), (Fill, "side")]
SOURCES = [(Tick, "source"), (Candle, "source"), (StopOrder, "source")]


def assert_refuses(kind: Callable[..., object], field: str, got: Any, wants: str) -> None:
    """Assert that the value is refused with an error that names field, what it got and what it wants."""
    with pytest.raises(UsageError) as caught:
        kind(**RIGHT[kind] | {field: got})  # type: ignore[index]
    assert str(caught.value) == f"{kind.__name__}.{field} got {got!r}, wants {wants}"


@pytest.mark.parametrize("kind", RIGHT)
def test_right_values_are_kept_as_they_are(kind: type[msgspec.Struct]) -> None:
    built = kind(**RIGHT[kind])
    assert msgspec.structs.asdict(built).items() >= RIGHT[kind].items()


@pytest.mark.parametrize("kind", RIGHT)
def test_values_are_frozen(kind: type[msgspec.Struct]) -> None:
    built = kind(**RIGHT[kind])
    with pytest.raises(AttributeError):
        built.symbol = "ETH/USDT:USDT"  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", RIGHT)
def test_values_survive_json_exactly(kind: type[msgspec.Struct]) -> None:
    built = kind(**RIGHT[kind])
    assert msgspec.json.decode(msgspec.json.encode(built), type=kind) == built


@pytest.mark.parametrize("got", [1.5, 1, "1", True, Decimal(0), Decimal(-1), Decimal("NaN"), Decimal("Infinity")])
@pytest.mark.parametrize(("kind", "field"), MONEY)
def test_money_is_a_finite_decimal_above_zero(kind: type[msgspec.Struct], field: str, got: Any) -> None:
    assert_refuses(kind, field, got, "a finite Decimal above 0")


@pytest.mark.parametrize("got", [0.0, 0, None, Decimal(-1), Decimal("NaN")])
@pytest.mark.parametrize("field", ["min_quantity", "min_notional"])
def test_market_minimums_are_finite_decimals_of_at_least_zero(field: str, got: Any) -> None:
    assert_refuses(Market, field, got, "a finite Decimal, at least 0")


@pytest.mark.parametrize(
    "got",
    [
        "BTCUSDT",
        "BTC/USDT",
        "BTC/USD:BTC",
        "BTC-USDT-SWAP",
        "BTC/USDT:USDT ",
        "/USDT:USDT",
        "BTC/USDT:USDT-2601",
        "BTC/USDT:USDT-260102-60000-C",
        "",
        None,
    ],
)
@pytest.mark.parametrize(("kind", "field"), SYMBOLS)
def test_only_linear_contracts_in_unified_form_are_taken(kind: type[msgspec.Struct], field: str, got: Any) -> None:
    assert_refuses(kind, field, got, "a linear contract in unified form, such as 'BTC/USDT:USDT'")


def test_expiring_linear_contracts_are_taken() -> None:
    assert Market("BTC/USDT:USDT-260327").symbol == "BTC/USDT:USDT-260327"


@pytest.mark.parametrize("got", ["buy", "LONG", "", None, 1])
@pytest.mark.parametrize(("kind", "field"), SIDES)
def test_a_side_is_long_or_short(kind: type[msgspec.Struct], field: str, got: Any) -> None:
    assert_refuses(kind, field, got, "one of 'long', 'short'")


@pytest.mark.parametrize("got", ["Mark", "oracle", "", None])
@pytest.mark.parametrize(("kind", "field"), SOURCES)
def test_a_source_is_last_mark_or_index(kind: type[msgspec.Struct], field: str, got: Any) -> None:
    assert_refuses(kind, field, got, "one of 'last', 'mark', 'index'")


@pytest.mark.parametrize(
    "got", [datetime(2026, 1, 2), OPENED.astimezone(timezone(timedelta(hours=1))), "2026-01-02T03:04:05Z", 1.0, None]
)
@pytest.mark.parametrize("kind", [Position, Candle])
def test_times_of_day_are_aware_and_in_utc(kind: type[msgspec.Struct], got: Any) -> None:
    assert_refuses(kind, "opened_at", got, "an aware datetime in UTC")


@pytest.mark.parametrize("got", ["", 7, "a\ud800", "\udfffa"])
def test_a_position_id_is_a_text_that_is_not_empty_and_that_a_store_can_hold(got: Any) -> None:
    assert_refuses(Position, "id", got, "a text that is not empty and has no surrogate, or None")


@pytest.mark.parametrize("got", [float("nan"), float("inf"), "1", None])
def test_a_tick_has_a_finite_reading_of_the_clock(got: Any) -> None:
    assert_refuses(Tick, "at", got, "seconds on the running clock")


@pytest.mark.parametrize("got", [0, -1.0, float("inf"), "60", True])
def test_a_candle_lasts_more_than_no_seconds(got: Any) -> None:
    assert_refuses(Candle, "seconds", got, "seconds, a finite number above 0")


@pytest.mark.parametrize("change", [{"low": Decimal("10.5")}, {"high": Decimal("10.5")}, {"low": Decimal(13)}])
def test_a_candle_spans_its_open_and_close(change: dict[str, Decimal]) -> None:
    with pytest.raises(UsageError, match=r"Candle got \(.*\), wants low <= open, close <= high"):
        Candle(**RIGHT[Candle] | change)


def test_the_identity_of_a_position_is_its_id_or_else_its_opening() -> None:
    position = Position(**RIGHT[Position])
    assert position.identity == "first"
    assert msgspec.structs.replace(position, id=None).identity == "2026-01-02T03:04:05+00:00"


@pytest.mark.parametrize(("given", "value"), [("1.5", "1.5"), (2, "2"), (Decimal("0.05"), "0.05"), (0, "0")])
def test_a_percent_is_built_from_text_whole_number_or_decimal(given: str | int | Decimal, value: str) -> None:
    assert Percent(given).value == Decimal(value)


def test_a_percent_refuses_a_float_and_says_how_it_is_written() -> None:
    with pytest.raises(UsageError) as caught:
        Percent(1.5)  # type: ignore[arg-type]
    assert str(caught.value) == (
        "Percent got 1.5, wants a text, a whole number or a Decimal, such as Percent('1.5'), never a float"
    )


@pytest.mark.parametrize("got", [True, None, Decimal("NaN"), Decimal("Infinity"), Decimal(-1)])
def test_a_percent_refuses_what_is_no_finite_number(got: Any) -> None:
    with pytest.raises(UsageError) as caught:
        Percent(got)
    assert str(caught.value) == f"Percent got {got!r}, wants a finite Decimal, at least 0"


@pytest.mark.parametrize("got", ["", "abc", "1.5%", "1,5"])
def test_a_percent_refuses_text_that_is_no_number(got: str) -> None:
    with pytest.raises(UsageError) as caught:
        Percent(got)
    assert str(caught.value) == f"Percent got {got!r}, wants a number such as '1.5'"


def test_a_percent_knows_its_share_of_a_price() -> None:
    percent = Percent("1.5")
    assert percent.of(Decimal(200)) == Decimal(3)
    assert percent.above(Decimal(200)) == Decimal(203)
    assert percent.below(Decimal(200)) == Decimal(197)
    assert str(percent) == "1.5%"
    assert Percent(1) < percent < Percent("1.6")


def test_a_usage_error_is_a_value_error_too() -> None:
    assert issubclass(UsageError, ValueError)
    assert issubclass(UsageError, TrailingError)


@pytest.mark.parametrize(
    "got",
    ["1E+999999", "1E-999999", "1E+18", "1E-19", "9.99E-19", "1" + "0" * 30, "1." + "0" * 30, "0.1" + "2" * 30],
)
@pytest.mark.parametrize(("kind", "field"), MONEY)
def test_money_has_at_most_30_digits_and_a_size_that_it_can_have(
    kind: type[msgspec.Struct], field: str, got: str
) -> None:
    assert_refuses(kind, field, Decimal(got), "a Decimal from 1e-18 to below 1e18 with at most 30 digits")


@pytest.mark.parametrize("got", ["1E-18", "0.000000000000000123", "123456789012.123456789012345678", "9" * 18, "1E+17"])
def test_a_micro_priced_coin_with_18_decimals_and_a_huge_quantity_are_money(got: str) -> None:
    assert Position(**RIGHT[Position] | {"entry_price": Decimal(got), "quantity": Decimal(got)}).quantity == Decimal(
        got
    )


@pytest.mark.parametrize("got", ["0E+999999", "0E-999999"])
def test_a_zero_that_no_calculation_can_take_is_refused_too(got: str) -> None:
    assert_refuses(Market, "min_quantity", Decimal(got), "a Decimal from 1e-18 to below 1e18 with at most 30 digits")


def test_a_refusal_shows_the_first_200_characters_of_what_it_got() -> None:
    with pytest.raises(UsageError) as caught:
        Tick("BTC/USDT:USDT", Decimal("1" * 5_000_000), 0.0)
    assert (
        str(caught.value)
        == f"Tick.price got Decimal('{'1' * 191}…, wants a Decimal from 1e-18 to below 1e18 with at most 30 digits"
    )
