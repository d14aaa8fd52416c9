"""Real exchanges: ccxt behind trio-asyncio. No other package imports ccxt or asyncio."""

from trailing.exchanges.ccxt.credentials import Credentials as Credentials
from trailing.exchanges.ccxt.opening import open_ccxt as open_ccxt
