"""Price files: bars or trades in CSV or Parquet, read once, whole and checked.

`read_prices` reads a file, `find_price_files` finds the file of each symbol, and `describe_prices` says in plain lines what
was rounded and what is missing.
"""

from trailing.price_files.describing import describe_prices
from trailing.price_files.finding import find_price_files
from trailing.price_files.reading import read_prices
from trailing.price_files.values import Bars, Gap, Prices, Trades

__all__ = ["Bars", "Gap", "Prices", "Trades", "describe_prices", "find_price_files", "read_prices"]
