"""Each documented frame has exactly its updates."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from documented_frames import AT, BTC, DOCUMENTED, Frame
from okx_frames import CONTRACT, ENDING, INSTRUMENT, OKX_FRAMES

from trailing.exchanges.ccxt.connecting import STREAM_PROTOCOLS
from trailing.exchanges.ccxt.margin_modes import MarginModes
from trailing.exchanges.ccxt.stream_protocol import Instrument, Message, parse_frame


class NoSession:
    def __init__(self) -> None:
        self.client: Any = None
        self.margin_modes = MarginModes()


@pytest.mark.parametrize(
    ("venue", "frame", "messages"),
    [
        pytest.param(venue, frame, messages, id=f"{venue}: {name}")
        for venue, cases in {**DOCUMENTED, "okx": (*OKX_FRAMES, *ENDING)}.items()
        for name, frame, messages in cases
    ],
)
def test_fm53_a_documented_frame_has_exactly_these_updates(venue: str, frame: Frame, messages: list[Message]) -> None:
    instrument = Instrument(BTC, INSTRUMENT, CONTRACT) if venue == "okx" else Instrument(BTC, "BTCUSDT", Decimal(1))
    protocol = STREAM_PROTOCOLS[venue](NoSession(), [instrument])  # type: ignore[arg-type]
    assert list(parse_frame(protocol, msgspec.json.encode(frame).decode(), AT)) == messages
