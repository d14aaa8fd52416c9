"""Count what happens, and write all metrics in the text form of Prometheus."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from trailing.core.model import Side
from trailing.events import Alarm, Event, PositionClosed, PositionReleased, StopOpened, StreamChanged
from trailing.exchanges.port import Exchange
from trailing.extras import require_extra
from trailing.protection.overview import Overview
from trailing.protection.statistics import Statistics
from trailing.unprotected import CAUSES
from trailing.web.catalogue import METRICS, Metric

if TYPE_CHECKING:
    from prometheus_client.core import Metric as Family

    from trailing.web.measured import MeasuredExchange

Labels = tuple[str, ...]
Values = Mapping[Labels, float]

MOST_SERIES: Final = 500
"""The most combinations of labels of one metric. Further ones count for the labels `other`, so that the memory is bounded."""

OTHER: Final = "other"

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class _Histogram:
    """The counts of one combination of labels: one for each bucket, the last one without an upper bound."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0


class Metrics:
    """Count events and measure an exchange. One object belongs to one manager.

    Pass the exchange through `measure` before it goes to `open_manager`; without that, the metrics of requests are
    missing. `trailing.web.serve` takes the object.
    """

    def __init__(self) -> None:
        self._counters: dict[str, Counter[Labels]] = {}
        self._histograms: dict[str, dict[Labels, _Histogram]] = {}
        self._protected: set[tuple[str | None, Side | None]] = set()
        self._was_lost = False

    def measure(self, exchange: Exchange) -> MeasuredExchange:
        """Return an exchange that passes every call on, and measures the requests."""
        from trailing.web.measured import MeasuredExchange  # noqa: PLC0415 - it imports this module

        return MeasuredExchange(exchange, self)

    def count(self, name: str, *labels: str) -> None:
        """Add one to a counter."""
        counter = self._counters.setdefault(name, Counter())
        counter[_bounded(labels, counter)] += 1

    def observe(self, name: str, value: float, *labels: str) -> None:
        """Add a value to a histogram, in seconds."""
        series = self._histograms.setdefault(name, {})
        labels = _bounded(labels, series)
        bounds = METRICS[name].buckets
        histogram = series.get(labels)
        if histogram is None:
            histogram = series[labels] = _Histogram(bounds)
        histogram.counts[bisect_left(bounds, value)] += 1
        histogram.total += value

    def note_protected(self, overview: Overview) -> None:
        """Note the positions that are protected already, so that a later stop is not taken for their first."""
        self._protected |= {
            (view.position.symbol, view.position.side) for view in overview.positions if view.stop is not None
        }

    def take(self, event: Event) -> None:
        """Count an event."""
        self.count("trailing_events_total", type(event).__name__, event.level)
        key = (event.symbol, event.side)
        match event:
            case Alarm(what=what):
                self.count("trailing_alarms_total", what)
            case StreamChanged(connected=connected):
                if connected and self._was_lost:
                    self.count("trailing_stream_reconnects_total")
                self._was_lost = not connected
            case StopOpened() if key not in self._protected:
                self._protected.add(key)
                self.observe("trailing_time_to_protect_seconds", event.unprotected_seconds)
            case PositionClosed() | PositionReleased():
                self._protected.discard(key)
            case _:
                pass

    def render(self, values: Mapping[str, Values]) -> bytes:
        """Return all metrics in the text form of Prometheus.

        Args:
            values: what is read now, from `manager_values` or a store, by metric and labels.

        Raises:
            UsageError: prometheus-client is not installed.
        """
        require_extra("web", "prometheus_client")
        from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415 - an extra
        from prometheus_client.registry import Collector  # noqa: PLC0415

        families = list(self._families(values))

        class Now(Collector):
            def collect(self) -> Iterable[Family]:
                return families

        registry = CollectorRegistry(auto_describe=False)
        registry.register(Now())
        return generate_latest(registry)

    def _families(self, values: Mapping[str, Values]) -> Iterator[Family]:
        from prometheus_client.core import (  # noqa: PLC0415 - an extra
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
        )

        for name, metric in METRICS.items():
            if metric.kind == "histogram":
                histogram = HistogramMetricFamily(name, metric.help, labels=metric.labels)
                for labels, series in self._series(metric):
                    histogram.add_metric(labels, *_cumulative(metric.buckets, series))
                yield histogram
                continue
            kind = GaugeMetricFamily if metric.kind == "gauge" else CounterMetricFamily
            family = kind(name, metric.help, labels=metric.labels)
            for labels, value in values.get(name, self._counters.get(name, {})).items():
                family.add_metric(labels, value)
            yield family

    def _series(self, metric: Metric) -> Iterable[tuple[Labels, _Histogram]]:
        series = self._histograms.get(metric.name, {})
        return series.items() if series or metric.labels else [((), _Histogram(metric.buckets))]


def manager_values(overview: Overview, statistics: Statistics) -> dict[str, Values]:
    """Return the metrics that a manager's overview and figures give, by metric and labels."""
    health = overview.health
    ages = [view.unprotected_for or 0.0 for view in overview.positions]
    one: dict[str, float] = {
        "trailing_unprotected_positions": sum(view.is_unprotected for view in overview.positions),
        "trailing_unprotected_longest_seconds": max(ages, default=0.0),
        "trailing_stop_moves_total": statistics.moves,
        "trailing_positions_closed_total": statistics.closed,
        "trailing_waves_total": statistics.waves,
        "trailing_events_dropped_total": statistics.dropped,
        "trailing_stream_connected": health.stream_connected,
        "trailing_stream_lag_seconds": overview.price_age or 0.0,
        "trailing_ticks_total": statistics.ticks,
        "trailing_exchange_silence_seconds": (
            math.nan if statistics.since_confirmed is None else statistics.since_confirmed
        ),
        "trailing_journal_waiting_entries": health.journal.waiting,
        "trailing_journal_behind": health.journal_is_behind,
        "trailing_journal_commits_total": statistics.commits,
        "trailing_lease_seconds": health.lease_seconds,
    }
    states = Counter(view.state for view in overview.positions)
    owner = (f"{health.exchange} {health.account}",)
    return {
        **{name: {(): float(value)} for name, value in one.items()},
        "trailing_positions": {(state,): count for state, count in sorted(states.items())},
        "trailing_unprotected_seconds_total": {
            (cause,): getattr(statistics.unprotected_time, cause) for cause in CAUSES
        },
        "trailing_outcomes_total": {(kind,): count for kind, count in sorted(statistics.outcomes.items())},
        "trailing_lease_held": {owner: float(health.lease_seconds > 0)},
    }


def _bounded(labels: Labels, known: Mapping[Labels, object]) -> Labels:
    """Return the labels under which something is counted: themselves, or `OTHER` for each if there are too many."""
    return labels if labels in known or len(known) < MOST_SERIES else (OTHER,) * len(labels)


def _cumulative(bounds: tuple[float, ...], series: _Histogram) -> tuple[list[tuple[str, float]], float]:
    """Return the buckets of a histogram as Prometheus counts them, each with those below it, and the sum."""
    total, buckets = 0, list[tuple[str, float]]()
    for bound, count in zip((*map(str, bounds), "+Inf"), series.counts, strict=True):
        total += count
        buckets.append((bound, total))
    return buckets, series.total
