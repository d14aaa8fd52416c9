"""A bot that is killed again and again over one long wave, and what has to hold each time.

The exchange lives in a process of its own and outlives every bot. ``python -m simulation.killing --kills 200`` runs
it; see `kill_and_restart`.
"""

from simulation.killing.run import KillingReport as KillingReport
from simulation.killing.run import kill_and_restart as kill_and_restart
