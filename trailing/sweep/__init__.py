"""Sweeps: many plans along the same prices, by a compiled kernel that gives the core's results.

It needs the extra ``sweep``: ``pip install 'trailing[sweep]'``.
"""

from trailing.extras import import_extra

import_extra("numba", extra="sweep", purpose="sweeps")

from trailing.sweep.chance import Chance
from trailing.sweep.grids import MOST_PLANS, Grid
from trailing.sweep.intervals import Interval
from trailing.sweep.plateau import Plateau, Span
from trailing.sweep.results import OrderResult, PlanResult, SweepInputs, SweepResult, WalkedSymbol
from trailing.sweep.running import run
from trailing.sweep.suggesting import LEAST_TRADES, Excursions, SuggestedPlan, Suggestion, suggest
from trailing.sweep.walk_forward import WalkForward

__all__ = [
    "LEAST_TRADES",
    "MOST_PLANS",
    "Chance",
    "Excursions",
    "Grid",
    "Interval",
    "OrderResult",
    "PlanResult",
    "Plateau",
    "Span",
    "SuggestedPlan",
    "Suggestion",
    "SweepInputs",
    "SweepResult",
    "WalkForward",
    "WalkedSymbol",
    "run",
    "suggest",
]
