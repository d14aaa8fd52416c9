"""Plain lines about a price file: what was rounded, and what is missing."""

from __future__ import annotations

from datetime import UTC, datetime

from trailing.price_files.values import Bars, Prices


def describe_prices(prices: Prices) -> list[str]:
    """Return a line about rounded prices and one about missing bars; none for a file without either."""
    lines = []
    if prices.off_tick:
        count = len(prices) * (4 if isinstance(prices, Bars) else 1)
        lines.append(
            f"{prices.path.name}: {prices.off_tick} of {count} prices were off the tick {prices.tick:f}, and were rounded to it"
        )
    if isinstance(prices, Bars) and prices.gaps:
        missing = sum(gap.bars for gap in prices.gaps)
        longest = max(prices.gaps, key=lambda gap: gap.bars)
        gaps = "1 gap" if len(prices.gaps) == 1 else f"{len(prices.gaps)} gaps; the longest"
        at = datetime.fromtimestamp(longest.start / 1000, UTC)
        bars = "1 bar" if longest.bars == 1 else f"{longest.bars} bars"
        lines.append(
            f"{prices.path.name}: {missing} of {len(prices) + missing} bars are missing, in {gaps} begins at "
            f"{at:%Y-%m-%d %H:%M} UTC and has {bars}"
        )
    return lines
