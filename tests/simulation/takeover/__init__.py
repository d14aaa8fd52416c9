"""Let two bots take an account over from each other many times, one of them the owner and one a standby.

The exchange runs in a process of its own, and records each write with its time and client. Run it with ``python -m
simulation.takeover --takeovers 50 --postgres DSN``; see `run_takeovers`.
"""

from simulation.takeover.run import TakeoverReport as TakeoverReport
from simulation.takeover.run import run_takeovers as run_takeovers
