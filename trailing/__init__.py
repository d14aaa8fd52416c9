"""Trailing stops for futures positions, for bots written on trio.

The layers, each of which imports only those below it:

- `trailing.cli`: the command.
- `trailing.config`: a whole bot from a file, opened by `open_from_config`.
- `trailing.flatten`: the emergency exit, of a whole account and of a running bot.
- `trailing.protection`: the trio shell, opened by `open_manager`.
- `trailing.exchanges`, `trailing.stores`: the ports and their implementations, opened by `open_paper`, `open_ccxt` and
  `open_store`.
- `trailing.core`: pure functions and state, which decide; no trio, no clock, no I/O.
- `trailing.events`, `trailing.errors`, `trailing.unprotected`: what happened, what went wrong, how long positions were unprotected.

`trailing.testing` is the test kit, for users too.
"""

from trailing.config.bot import Bot as Bot
from trailing.config.bot import open_from_config as open_from_config
from trailing.config.bot import stop_seconds as stop_seconds
from trailing.config.settings import AlertSettings as AlertSettings
from trailing.config.settings import BotConfig as BotConfig
from trailing.config.settings import StoreSettings as StoreSettings
from trailing.config.settings import VenueSettings as VenueSettings
from trailing.config.settings import WebSettings as WebSettings
from trailing.config.settings import read_config as read_config
from trailing.core.account import OpenOrder as OpenOrder
from trailing.core.account import PositionReport as PositionReport
from trailing.core.entries import Entry as Entry
from trailing.core.entry_orders import AttachedStop as AttachedStop
from trailing.core.entry_orders import EntryOrder as EntryOrder
from trailing.core.entry_orders import EntryRequest as EntryRequest
from trailing.core.entry_orders import EntrySettings as EntrySettings
from trailing.core.findings import Finding as Finding
from trailing.core.model import CallbackRange as CallbackRange
from trailing.core.model import Candle as Candle
from trailing.core.model import Fill as Fill
from trailing.core.model import Market as Market
from trailing.core.model import Percent as Percent
from trailing.core.model import Position as Position
from trailing.core.model import StopOrder as StopOrder
from trailing.core.model import Tick as Tick
from trailing.core.plan import Pacing as Pacing
from trailing.core.plan import TrailPlan as TrailPlan
from trailing.core.ratchet import Ratchet as Ratchet
from trailing.core.record import StopRecord as StopRecord
from trailing.core.rules import Breakeven as Breakeven
from trailing.core.rules import Callback as Callback
from trailing.core.rules import Chandelier as Chandelier
from trailing.core.rules import History as History
from trailing.core.rules import Rule as Rule
from trailing.core.rules import Steps as Steps
from trailing.core.states import State as State
from trailing.errors import AuthenticationFailed as AuthenticationFailed
from trailing.errors import CallRejected as CallRejected
from trailing.errors import EntryRejected as EntryRejected
from trailing.errors import ExchangeError as ExchangeError
from trailing.errors import ExchangeUnreachable as ExchangeUnreachable
from trailing.errors import LeaseLost as LeaseLost
from trailing.errors import NoSuchEntry as NoSuchEntry
from trailing.errors import NoSuchPosition as NoSuchPosition
from trailing.errors import NoSuchStop as NoSuchStop
from trailing.errors import NothingToReduce as NothingToReduce
from trailing.errors import OutcomeUnknown as OutcomeUnknown
from trailing.errors import RateLimited as RateLimited
from trailing.errors import StopRejected as StopRejected
from trailing.errors import StoreError as StoreError
from trailing.errors import TooManyStops as TooManyStops
from trailing.errors import TrailingError as TrailingError
from trailing.errors import UsageError as UsageError
from trailing.errors import WouldTrigger as WouldTrigger
from trailing.exchanges.ccxt import Credentials as Credentials
from trailing.exchanges.ccxt import open_ccxt as open_ccxt
from trailing.exchanges.paper import open_paper as open_paper
from trailing.exchanges.port import EntryUpdate as EntryUpdate
from trailing.exchanges.port import Exchange as Exchange
from trailing.exchanges.port import OrderUpdate as OrderUpdate
from trailing.exchanges.port import PartialList as PartialList
from trailing.exchanges.port import PositionUpdate as PositionUpdate
from trailing.exchanges.port import StopRequest as StopRequest
from trailing.exchanges.port import StreamState as StreamState
from trailing.flatten.close_signal import close_all_on_signal as close_all_on_signal
from trailing.logs import configure_logging as configure_logging
from trailing.logs import hide_credentials as hide_credentials
from trailing.protection.health import Health as Health
from trailing.protection.manager import Manager as Manager
from trailing.protection.manager import open_manager as open_manager
from trailing.protection.manager import plan_recovery as plan_recovery
from trailing.protection.overview import Overview as Overview
from trailing.protection.overview import PositionOverview as PositionOverview
from trailing.protection.statistics import Slippage as Slippage
from trailing.protection.statistics import Statistics as Statistics
from trailing.protection.waves.adoption import AdoptionReport as AdoptionReport
from trailing.protection.waves.adoption import NotAdopted as NotAdopted
from trailing.protection.waves.adoption import WouldAdopt as WouldAdopt
from trailing.protection.waves.entry_limits import EntryLimits as EntryLimits
from trailing.protection.waves.entry_outcomes import EntryOutcome as EntryOutcome
from trailing.protection.waves.entry_outcomes import EntryReport as EntryReport
from trailing.protection.waves.entry_outcomes import NotEntered as NotEntered
from trailing.protection.waves.entry_outcomes import WorkingEntry as WorkingEntry
from trailing.protection.waves.outcomes import AlreadyProtected as AlreadyProtected
from trailing.protection.waves.outcomes import Exited as Exited
from trailing.protection.waves.outcomes import OpeningTimes as OpeningTimes
from trailing.protection.waves.outcomes import Outcome as Outcome
from trailing.protection.waves.outcomes import Protected as Protected
from trailing.protection.waves.outcomes import Refused as Refused
from trailing.protection.waves.outcomes import TimedOut as TimedOut
from trailing.protection.waves.outcomes import Unprotected as Unprotected
from trailing.protection.waves.outcomes import WaveReport as WaveReport
from trailing.stores import open_store as open_store
from trailing.stores.port import Store as Store
from trailing.unprotected import UnprotectedTime as UnprotectedTime

__version__ = "0.1.0"
