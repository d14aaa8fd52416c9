"""Kill and restart a bot many times during one long wave, and check the invariants each time.

The exchange runs in a process of its own and survives every bot. Run it with ``python -m simulation.killing --kills
200``; see `kill_and_restart`.
"""

from simulation.killing.run import KillingReport as KillingReport
from simulation.killing.run import kill_and_restart as kill_and_restart
