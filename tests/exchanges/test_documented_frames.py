"""Each documented frame has exactly its updates."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from documented_entry_frames import ENTRIES
from documented_frames import AT, BTC, DOCUMENTED, Frame

from trailing.exchanges.ccxt.connecting import STREAM_PROTOCOLS
from trailing.exchanges.ccxt.stream_protocol import Instrument, Message, parse_frame


class NoSession:
    client: Any = None


@pytest.mark.parametrize(
    ("venue", "frame", "messages"),
    [
        pytest.param(venue, frame, messages, id=f"{venue}: {name}")
        for venue, cases in (*DOCUMENTED.items(), *ENTRIES.items())
        for name, frame, messages in cases
    ],
)
def test_fm53_a_documented_frame_has_exactly_these_updates(venue: str, frame: Frame, messages: list[Message]) -> None:
    protocol = STREAM_PROTOCOLS[venue](NoSession(), [Instrument(BTC, "BTCUSDT", Decimal(1))])  # type: ignore[arg-type]
    assert list(parse_frame(protocol, msgspec.json.encode(frame).decode(), AT)) == messages
