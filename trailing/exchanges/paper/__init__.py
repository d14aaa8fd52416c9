"""The embedded paper exchange: it matches orders like a venue, with the latency and limits of a remote one."""

from trailing.exchanges.paper.exchange import PaperExchange as PaperExchange
from trailing.exchanges.paper.limits import RateLimit as RateLimit
from trailing.exchanges.paper.opening import open_paper as open_paper
from trailing.exchanges.paper.transport import LogEntry as LogEntry
