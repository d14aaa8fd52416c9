"""psycopg 3 driven by trio itself, without asyncio in between.

`TrioConnection` is psycopg's `AsyncConnection` with the waiting done by trio: cursors, transactions, pipelines, COPY and
notifications are psycopg's own. Nothing here knows of stops or stores, so that this module and those that it gathers
(``trio_*.py`` beside it) can be lifted out.
"""

from trailing.stores.trio_connection import TrioConnection
from trailing.stores.trio_pool import Pool, PoolStatistics, PoolTimeout, open_pool

__all__ = ["Pool", "PoolStatistics", "PoolTimeout", "TrioConnection", "open_pool"]
