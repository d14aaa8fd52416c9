"""Channels and the heartbeat against real sockets on 127.0.0.1: what they send, and what becomes of answers."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import silent
import structlog
import trio
from http_receiver import OK, Receiver, receiver, refusal

from trailing.alerts import Alert, AppriseChannel, Channel, Heartbeat, Message, NotSent, WebhookChannel, make_channel
from trailing.alerts import channels as channels_module
from trailing.alerts import delivery as delivery_module
from trailing.alerts.alert_log import AlertLog
from trailing.alerts.delivery import Delivery
from trailing.alerts.http import MOST_RETRY_AFTER, read_retry_after
from trailing.alerts.secrets import SecretUrl
from trailing.errors import UsageError

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ALERT = Alert(
    key="stream", rule="stream", text="The stream is down.", is_firing=True, since=NOW, at=NOW, account="main"
)
MESSAGE = Message("trailing main: 1 alert", "ALERT: The stream is down.", (ALERT,), 1)
SECRET = "s3cr3t-path"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def apprise_url(found: Receiver) -> str:
    return f"json://127.0.0.1:{found.port}/hook/{SECRET}"


MAKERS: list[Any] = [
    pytest.param(lambda found: WebhookChannel(found.url), id="webhook"),
    pytest.param(lambda found: AppriseChannel(apprise_url(found)), id="apprise"),
]


async def test_a_webhook_gets_the_message_as_json() -> None:
    with receiver() as found:
        await WebhookChannel(found.url).send(MESSAGE)
    ((head, body),) = found.requests
    assert head.startswith(f"POST /hook/{SECRET} HTTP/1.1\r\n")
    assert "content-type: application/json" in head.lower()
    sent = json.loads(body)
    assert (sent["title"], sent["text"], sent["count"]) == (MESSAGE.title, MESSAGE.text, 1)
    assert sent["alerts"] == [
        {
            "key": "stream",
            "rule": "stream",
            "symbol": None,
            "side": None,
            "text": "The stream is down.",
            "is_firing": True,
            "since": "2026-01-01T00:00:00Z",
            "at": "2026-01-01T00:00:00Z",
            "account": "main",
        }
    ]


async def test_a_login_in_an_address_is_sent_as_a_header() -> None:
    with receiver() as found:
        await WebhookChannel(found.url.replace("http://", "http://user:p%40ss@")).send(MESSAGE)
    assert "Authorization: Basic dXNlcjpwQHNz" in found.requests[0][0]
    assert "user" not in found.requests[0][0].splitlines()[1].lower().replace("user-agent", "")


async def test_apprise_sends_the_title_and_the_text() -> None:
    with receiver() as found:
        await AppriseChannel(apprise_url(found)).send(MESSAGE)
    sent = json.loads(found.requests[0][1])
    assert (sent["title"], sent["message"]) == (MESSAGE.title, MESSAGE.text)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("status", ["500 Internal Server Error", "404 Not Found", "403 Forbidden"])
async def test_a_refusal_is_an_error_without_the_address(make: Callable[[Receiver], Channel], status: str) -> None:
    with receiver(refusal(status)) as found, pytest.raises(NotSent) as caught:
        await make(found).send(MESSAGE)
    assert SECRET not in str(caught.value)
    assert status.split(maxsplit=1)[0] in str(caught.value)


async def test_a_redirect_is_not_followed() -> None:
    moved = refusal("302 Found", "Location: http://127.0.0.1:1/elsewhere")
    with receiver(moved) as found, pytest.raises(NotSent, match=r"127\.0\.0\.1 answered 302"):
        await WebhookChannel(found.url).send(MESSAGE)
    assert len(found.requests) == 1


@pytest.mark.parametrize("make", MAKERS)
async def test_a_receiver_that_is_not_there_is_an_error(make: Callable[[Receiver], Channel]) -> None:
    with silent.closed() as port:
        channel = make(Receiver(port, ()))
        with pytest.raises(NotSent) as caught:
            await channel.send(MESSAGE)
    assert SECRET not in str(caught.value)


async def test_a_refusal_says_how_long_to_wait() -> None:
    with receiver(refusal("429 Too Many Requests", "Retry-After: 77")) as found, pytest.raises(NotSent) as caught:
        await WebhookChannel(found.url).send(MESSAGE)
    assert caught.value.retry_after == 77.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("12", 12.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("99999", MOST_RETRY_AFTER),
        ("nan", None),
        ("soon", None),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("Fri, 01 Jan 2100 00:00:00 GMT", MOST_RETRY_AFTER),
    ],
)
def test_retry_after_is_a_number_or_a_date(value: str | None, seconds: float | None) -> None:
    assert read_retry_after(value) == seconds


@pytest.mark.parametrize("make", MAKERS)
async def test_a_receiver_that_hangs_is_left_at_the_deadline_and_delays_nothing(
    make: Callable[[Receiver], Channel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels_module, "SEND_SECONDS", 0.3)
    latest = 0.0

    async def measure_delays() -> None:
        nonlocal latest
        while True:
            before = time.perf_counter()
            await trio.sleep(0.01)
            latest = max(latest, time.perf_counter() - before)

    with receiver(None) as found:
        channel = make(found)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(measure_delays)
            for _ in range(3):  # the third one may find both threads hanging
                began = time.perf_counter()
                with pytest.raises(NotSent, match="no answer within|TimeoutError"):
                    await channel.send(MESSAGE)
                assert time.perf_counter() - began < 2.0
            nursery.cancel_scope.cancel()
        # A socket of a webhook times out with the call. apprise waits for 4 s, in at most two threads.
        assert len(found.requests) == 2 if isinstance(channel, AppriseChannel) else 2 <= len(found.requests) <= 3
    assert latest < 0.25


async def test_the_last_state_arrives_when_a_receiver_works_again(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (channels_module, delivery_module):
        monkeypatch.setattr(module, "SEND_SECONDS", 0.3)
    monkeypatch.setattr(delivery_module, "BETWEEN", 0.05)
    too_many = refusal("429 Too Many Requests", "Retry-After: 0.2")
    with receiver(None, refusal("500 Internal Server Error"), too_many, OK) as found:
        async with trio.open_nursery() as nursery:
            delivery = Delivery(WebhookChannel(found.url), AlertLog())
            nursery.start_soon(delivery.run)
            delivery.put([ALERT])
            await trio.to_thread.run_sync(found.wait_for_requests, 1)
            over = Alert(key="stream", rule="stream", text="Over.", is_firing=False, since=NOW, at=NOW, account="main")
            delivery.put([over])
            await trio.to_thread.run_sync(found.wait_for_requests, 3)
            with trio.fail_after(10):
                while delivery.waiting:
                    await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
    assert [json.loads(body)["alerts"][0]["text"] for _, body in found.requests] == [
        "The stream is down.",
        "Over.",
        "Over.",
        "Over.",
    ]


async def test_apprise_uses_no_thread_that_the_end_of_the_process_waits_for() -> None:
    with receiver() as found:
        await AppriseChannel(apprise_url(found)).send(MESSAGE)
    assert [thread.name for thread in threading.enumerate() if "ThreadPoolExecutor" in thread.name] == []


@pytest.mark.parametrize("scheme", ["http", "json"])
def test_a_process_ends_while_a_receiver_hangs(scheme: str) -> None:
    code = """
import sys, trio
import apprise  # which takes seconds on a busy machine
from trailing.alerts import Message, make_channel

async def main():
    with trio.move_on_after(3.0):
        await make_channel(sys.argv[1]).send(Message("title", "text"))

trio.run(main)
"""
    with receiver(None) as found:
        began = time.perf_counter()
        url = found.url.replace("http", scheme, 1)
        subprocess.run([sys.executable, "-c", code, url], check=True, timeout=60)
        assert len(found.requests) == 1
    assert time.perf_counter() - began < 20.0


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("reply", [OK, refusal("500 Internal Server Error")], ids=["taken", "refused"])
async def test_no_part_of_an_address_is_logged_at_any_level(
    make: Callable[[Receiver], Channel], reply: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(1)
    structlog.reset_defaults()
    with structlog.testing.capture_logs() as entries, receiver(reply) as found:
        channel = make(found)
        async with trio.open_nursery() as nursery:
            delivery = Delivery(channel, AlertLog())
            nursery.start_soon(delivery.run)
            delivery.put([ALERT])
            await trio.to_thread.run_sync(found.wait_for_requests, 1)
            with trio.move_on_after(1.0):
                while delivery.waiting and delivery.failing_since is None:
                    await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
    logged = f"{caplog.text}{[record.__dict__ for record in caplog.records]}{entries}{channel!r}{channel.name}"
    assert len(found.requests) == 1
    assert SECRET not in logged


async def test_a_bug_of_a_plugin_is_an_error_without_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> bool:
        raise ValueError(f"bad json://example.com/hook/{SECRET}")

    channel = AppriseChannel(f"json://example.com/hook/{SECRET}")
    monkeypatch.setattr("apprise.Apprise.notify", fail)
    with pytest.raises(NotSent, match="ValueError: bad ") as caught:
        await channel.send(MESSAGE)
    assert SECRET not in str(caught.value)


async def test_other_threads_log_while_apprise_sends(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with receiver(None) as found:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(AppriseChannel(apprise_url(found)).send, MESSAGE)
            await trio.to_thread.run_sync(found.wait_for_requests, 1)
            logging.getLogger("urllib3.connectionpool").debug("of the bot")
            nursery.cancel_scope.cancel()
    assert [record.getMessage() for record in caplog.records if "urllib3" in record.name] == ["of the bot"]


@pytest.mark.parametrize(
    ("url", "kind", "name"),
    [
        ("https://example.com/hook/abcdef", WebhookChannel, "webhook example.com"),
        ("tgram://123456789:abcdefg_hijklmnop/12315544/", AppriseChannel, "Telegram"),
        ("discord://1234567890/abcdefghijklmnop", AppriseChannel, "Discord"),
        ("https://discord.com/api/webhooks/1234567890/abcdefghijklmnop", AppriseChannel, "Discord"),
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#ops", AppriseChannel, "Slack"),
        (
            "https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ",
            AppriseChannel,
            "Slack",
        ),
        ("mailtos://user:app-password@example.com?to=me@example.com", AppriseChannel, "E-Mail"),
    ],
)
def test_each_kind_of_address_of_the_docs_makes_a_channel(url: str, kind: type, name: str) -> None:
    channel = make_channel(url)
    assert isinstance(channel, kind)
    assert channel.name == name
    assert make_channel(url, "mine").name == "mine"


@pytest.mark.parametrize(
    "url",
    ["", "nothing", "https://", "https://[bad/s3cr3t-path", "nosuch://s3cr3t-path/x", "tgram://s3cr3t-path", "a b://c"],
)
def test_an_address_that_can_t_be_used_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        make_channel(url)
    assert SECRET not in str(caught.value)


def test_a_missing_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    assert make_channel("https://example.com/hook").name == "webhook example.com"
    with pytest.raises(
        UsageError, match=r"apprise is not installed. Install it with: pip install 'trailing\[alerts\]'"
    ):
        make_channel("tgram://123456789:abcdefg_hijklmnop/12315544/")


def test_an_address_is_masked_in_every_form() -> None:
    url = SecretUrl("https://user:p%40ssword@example.com/hook/s3cr3t-path?key=abcdef123")
    hidden = url.hide("https://example.com/hook/s3cr3t-path?key=abcdef123 p@ssword p%40ssword user:x")
    assert not any(part in hidden + repr(url) for part in ("s3cr3t-path", "abcdef123", "ssword"))
    assert "example.com" in hidden
    with pytest.raises(TypeError, match="can't be pickled"):
        url.__reduce__()


async def test_a_heartbeat_is_fetched() -> None:
    with receiver() as found:
        await Heartbeat(found.url).fetch()
    assert found.requests[0][0].startswith(f"GET /hook/{SECRET} HTTP/1.1")


def test_a_heartbeat_wants_an_http_address() -> None:
    with pytest.raises(UsageError, match="wants http or https"):
        Heartbeat("tgram://123456789:abcdefg_hijklmnop/12315544/")
    with pytest.raises(UsageError, match=r"Heartbeat.every got 0, wants seconds"):
        Heartbeat("https://example.com/x", every=0)
