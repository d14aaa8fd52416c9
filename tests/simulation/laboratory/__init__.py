"""Simulated worlds: prices with jumps, latencies, faults, outages, manual changes and killed bots, drawn from a seed.

Each world runs on trio's virtual clock, in the same way every time, and is checked after every step. Run many worlds with
``python -m simulation.laboratory --seeds 2000``, one with ``--seed 7``, and a day of 50 positions a wave with ``--day``.
"""

from simulation.laboratory.harsh_rates import HarshRates as HarshRates
from simulation.laboratory.report import WorldReport as WorldReport
from simulation.laboratory.scenario import Scenario as Scenario
from simulation.laboratory.world import run_world as run_world
