"""Drive psycopg 3 with trio, without asyncio.

`TrioConnection` is psycopg's `AsyncConnection`, in which trio does the waiting. Cursors, transactions, pipelines, COPY and
notifications are psycopg's own. The package imports only psycopg and trio, so that its folder can be copied into another
project: see README.md beside this file.
"""

from .connection import TrioConnection
from .conninfo import describe_server, read_conninfo
from .locks import FifoLock
from .pool import Pool, PoolStatistics, PoolTimeout, open_pool

__all__ = [
    "FifoLock",
    "Pool",
    "PoolStatistics",
    "PoolTimeout",
    "TrioConnection",
    "describe_server",
    "open_pool",
    "read_conninfo",
]
