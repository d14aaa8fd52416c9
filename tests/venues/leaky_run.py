"""A run that fails in many ways, logs everything, and ends with a traceback, for the test that searches its output for keys."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import structlog
import trio
from okx_server import PASSPHRASE
from real_exchange import BTC, open_desk, stop_request
from venue_faults import Fault, json_reply
from venue_server import API_KEY, SECRET

import trailing
from trailing import Callback, Percent, TrailPlan
from trailing.errors import TrailingError

PLAN = TrailPlan(initial_stop=Percent(2), rules=(Callback(Percent(1), activation=Percent(1)),))
ECHO = json_reply(
    {
        "code": -9999,
        "retCode": -9999,
        "msg": f"key {API_KEY} with {SECRET} and {PASSPHRASE}",
        "retMsg": f"key {API_KEY}",
        "data": [{"sCode": "9999", "sMsg": f"key {API_KEY} with {PASSPHRASE}"}],
    },
    400,
)

FAULTS = (
    Fault(on="*", reply=ECHO),
    Fault(on="*", drop="after"),
    Fault(on="*", truncated=True),
    Fault(on="*", reply_delay=1.0),
)


def talkative(client: Any) -> None:
    client.timeout = 400


async def run(venue: str, store_path: str) -> None:
    log = structlog.get_logger()
    credentials = trailing.Credentials(API_KEY, SECRET, PASSPHRASE)
    log.info("opening", credentials=credentials, keys=[credentials], text=f"{credentials}")
    async with (
        open_desk(venue, credentials=credentials, configure=talkative) as desk,
        trailing.open_store(f"sqlite:///{store_path}") as store,
        trailing.open_manager(desk.exchange, store, PLAN) as manager,
    ):
        await desk.enter()
        log.info("opened", exchange=desk.exchange, session=desk.exchange.session, manager=manager)
        for number in range(
            len(FAULTS)
        ):  # no fault is a local variable, because the log shows local variables, and one fault contains the key
            desk.server.faults.add(FAULTS[number])
            for call in (
                desk.exchange.positions(),
                desk.exchange.place_stop(stop_request()),
                desk.exchange.price(BTC, "mark"),
            ):
                try:
                    await call
                except TrailingError:
                    log.exception("failed")
            desk.server.faults.clear()
        desk.server.faults.add(Fault(on="place_stop", reply=ECHO))
        position = trailing.Position(BTC, "long", Decimal("0.8"), Decimal(1000), datetime.now(UTC))
        await manager.protect_wave([position], deadline=1.0)
        desk.server.faults.clear()
        desk.server.faults.add(Fault(on="*", reply=ECHO))
        await desk.exchange.positions()


if __name__ == "__main__":
    logging.basicConfig(level=logging.DEBUG, stream=sys.stdout)
    trio.run(run, sys.argv[1], sys.argv[2])
