"""Real exchanges, over ccxt behind trio-asyncio: the only place that knows of asyncio."""

from trailing.exchanges.ccxt.credentials import Credentials as Credentials
from trailing.exchanges.ccxt.opening import open_ccxt as open_ccxt
