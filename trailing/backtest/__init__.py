"""Backtests: positions walked along recorded prices on the core alone, without manager, store and network.

The fill model is that of ``trailing run --paper``, and both give the same exits, prices, moves and profits.
"""

from trailing.backtest.costs import Account, Costs, FundingRate
from trailing.backtest.entries import AlwaysIn, EntryPoint, Every, Signal
from trailing.backtest.own import OwnPosition, is_covered, own_trade
from trailing.backtest.results import Backtest, Run, Totals, Trade
from trailing.backtest.running import run
from trailing.backtest.walk import Walk, walk

__all__ = [
    "Account",
    "AlwaysIn",
    "Backtest",
    "Costs",
    "EntryPoint",
    "Every",
    "FundingRate",
    "OwnPosition",
    "Run",
    "Signal",
    "Totals",
    "Trade",
    "Walk",
    "is_covered",
    "own_trade",
    "run",
    "walk",
]
