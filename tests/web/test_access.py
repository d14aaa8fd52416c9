"""Which requests are answered: GET only, for the right host, and with the token if there is one."""

from __future__ import annotations

import hmac
from typing import Any
from unittest import mock

import pytest
import trio
from pages import ask

from trailing import UsageError
from trailing.web.access import PER_SECOND, Guard, Message, Receive, Send, answer, check_token, is_loopback
from trailing.web.addresses import parse_bind, url_of

TOKEN = "0123456789abcdef-token"


class Inner:
    """An application that counts its requests."""

    def __init__(self, error: Exception | None = None) -> None:
        self.asked: list[str] = []
        self._error = error

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        self.asked.append(scope["path"])
        if self._error is not None:
            raise self._error
        await answer(send, 200, "data")


def guard(inner: Inner, *, host: str = "127.0.0.1", token: str | None = None, hosts: tuple[str, ...] = ()) -> Guard:
    errors: list[Exception] = []
    return Guard(inner, host=host, hosts=hosts, token=token, log=errors.append)


@pytest.mark.parametrize(
    "method", ["POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "CONNECT", "get", "X"]
)
async def test_nothing_but_get_is_answered(method: str, autojump_clock: object) -> None:
    inner = Inner()
    refused = await ask(guard(inner), "/stream", method=method)
    assert (refused.status, refused.headers["allow"], inner.asked) == (405, "GET", [])


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.0.0.1:8787", "LOCALHOST:1", "[::1]:8787"])
async def test_a_loopback_page_is_answered_for_the_names_of_this_machine(host: str, autojump_clock: object) -> None:
    assert (await ask(guard(Inner()), "/metrics", headers=[("host", host)])).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8787", "", "[::2]", "127.0.0.2", "[::1"]
)
async def test_a_page_of_another_site_reaches_no_data_by_its_own_name(host: str, autojump_clock: object) -> None:
    inner = Inner()
    for path in ("/", "/metrics", "/stream", "/static/page.js", "/session"):
        assert (await ask(guard(inner), path, headers=[("host", host)])).status == 421
    assert inner.asked == []
    assert (await ask(guard(inner), headers=[])).status == 421


async def test_a_further_name_is_answered_if_it_was_given(autojump_clock: object) -> None:
    page = guard(Inner(), token=TOKEN, hosts=("Bot.example",))
    headers = [("host", "bot.example"), ("authorization", f"Bearer {TOKEN}")]
    assert (await ask(page, "/metrics", headers=headers)).status == 200


DATA = ("/metrics", "/stream", "/health", "/chart/p1", "/anything", "//", "/static")


@pytest.mark.parametrize("path", DATA)
@pytest.mark.parametrize(
    "wrong",
    [
        (),
        (("authorization", f"Bearer {TOKEN}x"),),
        (("authorization", f"Bearer {TOKEN[:-1]}"),),
        (("authorization", "Bearer "),),
        (("authorization", f"Basic {TOKEN}"),),
        (("authorization", TOKEN),),
        (("cookie", f"trailing_8787={TOKEN}"),),
        (("cookie", "trailing_8787="),),
        (("cookie", "trailing_8787"),),
        (("authorization", "Bearer \xff"),),
    ],
)
async def test_no_data_without_the_token(path: str, wrong: Any, autojump_clock: object) -> None:
    inner = Inner()
    refused = await ask(guard(inner, host="0.0.0.0", token=TOKEN), path, headers=wrong)  # noqa: S104
    assert (refused.status, inner.asked) == (401, [])
    assert TOKEN.encode() not in refused.body


@pytest.mark.parametrize("path", ["/", "/static/page.js"])
async def test_the_empty_page_needs_no_token(path: str, autojump_clock: object) -> None:
    inner = Inner()
    assert (await ask(guard(inner, host="0.0.0.0", token=TOKEN), path, headers=[])).status == 200  # noqa: S104


async def test_a_token_in_a_header_is_exchanged_for_a_cookie_that_scripts_can_not_read(autojump_clock: object) -> None:
    inner = Inner()
    page = guard(inner, host="192.0.2.1", token=TOKEN)
    opened = await ask(page, "/session", headers=[("authorization", f"bearer {TOKEN}")])
    assert opened.status == 204
    cookie, *attributes = opened.headers["set-cookie"].split("; ")
    assert set(attributes) == {"Path=/", "HttpOnly", "SameSite=Strict", "Max-Age=2592000"}
    assert TOKEN not in opened.headers["set-cookie"]
    with_cookie = [("cookie", f"other=1; {cookie}")]
    assert (await ask(page, "/stream", headers=with_cookie)).status == 200
    assert (await ask(page, "/session", headers=with_cookie)).status == 401  # a cookie makes no new one
    assert (await ask(guard(inner, host="192.0.2.1", token=TOKEN + "x"), "/stream", headers=with_cookie)).status == 401
    assert inner.asked == ["/stream"]


async def test_a_token_in_the_url_counts_for_nothing(autojump_clock: object) -> None:
    inner = Inner()
    page = guard(inner, host="192.0.2.1", token=TOKEN)
    assert (await ask(page, f"/metrics?token={TOKEN}", headers=[])).status == 401
    assert (await ask(page, f"/session/{TOKEN}", headers=[])).status == 401


async def test_tokens_and_cookies_are_compared_in_constant_time(autojump_clock: object) -> None:
    page = guard(Inner(), host="192.0.2.1", token=TOKEN)
    with mock.patch.object(hmac, "compare_digest", wraps=hmac.compare_digest) as compare:
        await ask(page, "/metrics", headers=[("authorization", "Bearer wrong")])
        await ask(page, "/metrics", headers=[("cookie", "trailing_8787=wrong")])
    assert [call.args[0] for call in compare.call_args_list] == [b"wrong", b"wrong"]


async def test_a_page_without_a_token_opens_no_session(autojump_clock: object) -> None:
    opened = await ask(guard(Inner()), "/session")
    assert (opened.status, "set-cookie" in opened.headers) == (204, False)


async def test_an_error_of_the_page_is_logged_and_answered_without_its_text(autojump_clock: object) -> None:
    errors: list[Exception] = []
    bug = RuntimeError("secret detail")
    page = Guard(Inner(bug), host="127.0.0.1", hosts=(), token=None, log=errors.append)
    failed = await ask(page)
    assert (failed.status, errors) == (500, [bug])
    assert b"secret" not in failed.body


async def test_another_protocol_is_refused(autojump_clock: object) -> None:
    inner, sent = Inner(), list[Any]()

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError

    assert (await ask(guard(inner), version="2")).status == 505
    await guard(inner)({"type": "websocket"}, receive, send)
    await guard(inner)({"type": "lifespan"}, receive, send)
    assert (sent, inner.asked) == ([{"type": "websocket.close", "code": 1008}], [])


async def test_every_answer_forbids_scripts_of_others_and_frames(autojump_clock: object) -> None:
    for path in ("/", "/metrics"):
        headers = (await ask(guard(Inner()), path)).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"


async def test_a_flood_of_requests_waits_for_its_turn(autojump_clock: trio.testing.MockClock) -> None:
    inner = Inner()
    page, began = guard(inner), trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(4 * PER_SECOND):
            nursery.start_soon(ask, page)
    assert trio.current_time() - began == pytest.approx(3.0)
    assert len(inner.asked) == 4 * PER_SECOND


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "bot.example"])  # noqa: S104
def test_another_address_needs_a_token(host: str) -> None:
    with pytest.raises(UsageError, match="a token is needed"):
        check_token(host, None)
    check_token(host, TOKEN)


@pytest.mark.parametrize(
    "token", ["", "short", "0123456789abcde", "with a blank in it", "0123456789abcdeé", "0123456789abcde\n"]
)
def test_a_token_that_can_be_guessed_or_not_sent_is_refused(token: str) -> None:
    with pytest.raises(UsageError, match="token wants at least 16") as refused:
        check_token("127.0.0.1", token)
    assert not token or token not in str(refused.value)


def test_loopback_addresses_are_known() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.8.8.8", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "example.com", "")))  # noqa: S104


@pytest.mark.parametrize(
    ("bind", "parsed"),
    [("127.0.0.1:0", ("127.0.0.1", 0)), ("[::1]:8787", ("::1", 8787)), ("bot.example:65535", ("bot.example", 65535))],
)
def test_an_address_is_split(bind: str, parsed: tuple[str, int]) -> None:
    assert parse_bind(bind) == parsed
    assert url_of(*parsed) == f"http://{bind}/"


@pytest.mark.parametrize(
    "bind", ["", "8787", ":8787", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "h:65536", "::1:80", "h:-1", "h:\u0661"]
)
def test_an_address_that_can_not_be_right_is_refused(bind: str) -> None:
    with pytest.raises(UsageError, match="bind got"):
        parse_bind(bind)
