"""The catalogue of all metrics. The HELP texts and the table in the documentation come from it."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

Kind: TypeAlias = Literal["counter", "gauge", "histogram"]
Source: TypeAlias = Literal["bot", "exchange", "store"]
"""Where a metric comes from: the manager in the bot's process; a measured exchange there; or a store alone."""

FAST: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Upper bounds of the buckets for single requests, in seconds."""

SLOW: Final = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper bounds of the buckets for the time until a position is protected, in seconds."""


class Metric(msgspec.Struct, frozen=True):
    """A metric, as the catalogue describes it.

    Args:
        name: in full, with `_total` for a counter.
        help: one sentence, with the unit.
        labels: the names of its labels. Each has a small number of values.
        sources: where it comes from.
        buckets: of a histogram, the upper bounds of its buckets, in seconds.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    sources: tuple[Source, ...] = ("bot",)
    buckets: tuple[float, ...] = ()


_BOTH: Final[tuple[Source, ...]] = ("bot", "store")
_EXCHANGE: Final[tuple[Source, ...]] = ("exchange",)

_ALL: Final = (
    # Positions.
    Metric("trailing_positions", "gauge", "Positions now, by state.", ("state",), _BOTH),
    Metric("trailing_unprotected_positions", "gauge", "Positions without a live stop now.", (), _BOTH),
    Metric(
        "trailing_unprotected_longest_seconds",
        "gauge",
        "Seconds for which the position that has waited longest has had no live stop; 0 if every position has one.",
    ),
    Metric(
        "trailing_unprotected_seconds_total",
        "counter",
        "Unprotected seconds of all positions, by cause. Of resumed positions, it includes those before the restart.",
        ("cause",),
    ),
    Metric(
        "trailing_time_to_protect_seconds",
        "histogram",
        "Seconds from the opening of a position to the acknowledgement of its first stop.",
        buckets=SLOW,
    ),
    Metric("trailing_stop_moves_total", "counter", "Moves of stops that the exchange acknowledged."),
    Metric("trailing_positions_closed_total", "counter", "Positions that ended flat."),
    Metric("trailing_waves_total", "counter", "Waves that came to outcomes."),
    Metric("trailing_outcomes_total", "counter", "Outcomes of positions in waves, by kind.", ("outcome",)),
    # Events.
    Metric("trailing_events_total", "counter", "Events, by kind and level.", ("event", "level")),
    Metric("trailing_alarms_total", "counter", "Alarms, by the problem that they name.", ("what",)),
    Metric(
        "trailing_events_dropped_total",
        "counter",
        "Events that the store or a subscriber did not take.",
    ),
    # The exchange.
    Metric(
        "trailing_requests_total",
        "counter",
        "Requests to the exchange, by operation and result; the result is ok, cancelled, or the kind of the error.",
        ("operation", "result"),
        _EXCHANGE,
    ),
    Metric(
        "trailing_request_seconds",
        "histogram",
        "Seconds from a request to its answer or error, by operation. It includes the wait for the rate limit.",
        ("operation",),
        _EXCHANGE,
        FAST,
    ),
    Metric(
        "trailing_refusals_total",
        "counter",
        "Requests that the exchange refused, by operation, kind of refusal, and the exchange's code if its message has one.",
        ("operation", "error", "code"),
        _EXCHANGE,
    ),
    Metric(
        "trailing_rate_limit_wait_seconds",
        "histogram",
        "Seconds that a request has to wait for the rate limit, as estimated when it is made, by operation.",
        ("operation",),
        _EXCHANGE,
        FAST,
    ),
    Metric("trailing_stream_connected", "gauge", "1 while the exchange's stream is connected, else 0."),
    Metric("trailing_stream_reconnects_total", "counter", "Returns of the exchange's stream after a loss."),
    Metric(
        "trailing_stream_lag_seconds",
        "gauge",
        "Seconds since the last price of any protected position; 0 while no position is protected.",
    ),
    Metric("trailing_ticks_total", "counter", "Prices that the feed took."),
    Metric(
        "trailing_exchange_silence_seconds",
        "gauge",
        "Seconds since the exchange last confirmed a request for a position; NaN before the first confirmation.",
    ),
    # The store and the lease.
    Metric(
        "trailing_journal_waiting_entries", "gauge", "Entries that wait to be written to the store, events included."
    ),
    Metric(
        "trailing_journal_behind",
        "gauge",
        "1 while an entry is not written although its journal_wait is over, else 0.",
    ),
    Metric("trailing_journal_commits_total", "counter", "Transactions that the store committed."),
    Metric("trailing_store_readable", "gauge", "1 while the store can be read, else 0.", sources=("store",)),
    Metric("trailing_lease_held", "gauge", "1 while a process owns the account, else 0.", ("account",), _BOTH),
    Metric(
        "trailing_lease_seconds",
        "gauge",
        "Seconds for which no other process can own the account; +Inf if only the end of the process ends the lease.",
    ),
)

METRICS: Final = {metric.name: metric for metric in _ALL}
"""Every metric, by its name."""


def table() -> str:
    """Return the catalogue as a Markdown table."""
    words = {"bot": "the bot", "exchange": "a measured exchange", "store": "a store alone"}
    lines = ["| metric | kind | labels | from | meaning |", "| --- | --- | --- | --- | --- |"]
    for metric in METRICS.values():
        labels = ", ".join(f"`{label}`" for label in metric.labels) or "none"
        sources = ", ".join(words[source] for source in metric.sources)
        lines.append(f"| `{metric.name}` | {metric.kind} | {labels} | {sources} | {metric.help} |")
    return "\n".join([*lines, ""])
