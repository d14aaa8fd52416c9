from datetime import UTC, datetime
from decimal import Decimal

import trio

import trailing
from trailing import Callback, Percent, Position
from trailing.alerts import AlertRules, AlertTargets, Message, open_alerts

PLAN = trailing.TrailPlan(initial_stop=Percent("2"), rules=(Callback(Percent("1"), activation=Percent("1")),))


class Screen:
    """A channel of the bot's own. A real bot uses AlertTargets.from_environment()."""

    name = "screen"

    async def send(self, message: Message) -> None:
        print(message.title)
        print(message.text)


async def main() -> None:
    async with (
        open_alerts(AlertTargets([Screen()]), rules=AlertRules(unprotected_seconds=1.5)) as alerts,
        trailing.open_paper(latency=lambda operation, _: 3.5 if operation == "place_stop" else 0.0) as exchange,
        trailing.open_store("memory:") as store,
        alerts.watch(trailing.open_manager(exchange, store, PLAN)) as manager,
    ):
        position = Position("BTC/USDT:USDT", "long", Decimal(1), Decimal(100), datetime.now(UTC))
        await exchange.enter(position)
        await manager.protect(position, deadline=10.0)
        await trio.sleep(4.0)


trio.run(main)
