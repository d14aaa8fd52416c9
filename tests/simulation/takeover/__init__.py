"""Two bots on one account, one of them standing by, and what becomes of the one that owns it: again and again.

The exchange lives in a process of its own, and writes down who wrote what, and when. ``python -m simulation.takeover
--takeovers 50 --postgres DSN`` runs it; see `take_over_and_over`.
"""

from simulation.takeover.run import TakeoverReport as TakeoverReport
from simulation.takeover.run import run_takeovers as run_takeovers
