"""Simulated worlds that are hostile and then heal: at the end, everything has to be in order again.

In the hostile time a person, the market, the exchange, the stream, the store and kills of the program disturb a bot, all at
once and without a pause. The laboratory checks each moment and therefore has to excuse what a disturbance explains. Here
nothing is checked until every disturbance has ended, so that nothing has to be excused afterwards. Run many worlds with
``python -m simulation.healing --seeds 500``, and one with ``--seed 7``.
"""

from simulation.healing.run import run_world as run_world
from simulation.healing.scenario import HostileScenario as HostileScenario
