"""Alerts about the positions and the health of a manager, and heartbeats to a monitor elsewhere.

Open the alerts outside of everything that they watch::

    async with (
        trailing.alerts.open_alerts(AlertTargets.from_environment()) as alerts,
        trailing.open_ccxt("binanceusdm", credentials) as exchange,
        trailing.open_store("sqlite:///bot.db") as store,
        alerts.watch(trailing.open_manager(exchange, store, plan)) as manager,
    ):
        ...

The modules: `conditions` decides which alerts fire, and is pure; `messages` and `outbox` are pure, too. `delivery` sends to one
channel, `channels` are the ways to reach a person, and `service` connects all of them with a manager.
"""

from trailing.alerts.channels import AppriseChannel as AppriseChannel
from trailing.alerts.channels import Channel as Channel
from trailing.alerts.channels import WebhookChannel as WebhookChannel
from trailing.alerts.channels import make_channel as make_channel
from trailing.alerts.heartbeat import Heartbeat as Heartbeat
from trailing.alerts.http import NotSent as NotSent
from trailing.alerts.messages import Message as Message
from trailing.alerts.rules import Alert as Alert
from trailing.alerts.rules import AlertRules as AlertRules
from trailing.alerts.service import Alerts as Alerts
from trailing.alerts.service import open_alerts as open_alerts
from trailing.alerts.targets import AlertTargets as AlertTargets
