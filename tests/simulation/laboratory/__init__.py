"""Simulated worlds: prices with jumps, latencies, faults, outages, hands from outside, deaths and restarts, from a seed.

Each happens on trio's virtual clock, the same way every time, and is looked at after every step. Run many with
``python -m simulation.laboratory --seeds 2000``, one with ``--seed 7``, and a day of 50 positions a wave with
``--day``.
"""

from simulation.laboratory.harsh_rates import HarshRates as HarshRates
from simulation.laboratory.report import WorldReport as WorldReport
from simulation.laboratory.scenario import Scenario as Scenario
from simulation.laboratory.world import run_world as run_world
