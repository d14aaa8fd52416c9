"""The time until a venue accepts requests again, from its reply's Retry-After."""

from __future__ import annotations

import pytest

from trailing.exchanges.ccxt.errors import RETRY_AFTER, retry_after
from trailing.exchanges.ccxt.http_replies import Reply

DATE = "Thu, 01 Jan 2026 00:00:30 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "Thu, 01 Jan 2026 00:02:00 GMT", "date": DATE}, 90.0),
        ({"retry-after": "Thu, 01 Jan 2026 00:00:00 GMT", "date": DATE}, RETRY_AFTER),
        ({"retry-after": "Thu, 01 Jan 2026 00:02:00 GMT"}, RETRY_AFTER),
        ({"retry-after": "inf", "date": DATE}, RETRY_AFTER),
        ({"retry-after": "-5", "date": DATE}, RETRY_AFTER),
        ({}, RETRY_AFTER),
    ],
)
def test_retry_after_is_a_number_or_a_date_relative_to_the_reply_s_date(
    headers: dict[str, str], seconds: float
) -> None:
    assert retry_after(Reply(429, headers, "")) == seconds
