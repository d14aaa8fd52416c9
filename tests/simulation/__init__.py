"""Simulate a bot from its first start to its last end. Every invariant has to hold throughout.

`laboratory` and `healing` run worlds on the virtual clock, `killing` kills real processes, and `takeover` lets two
processes compete for one account. `remote` serves the paper exchange to other processes. With ``tests`` on the path, the
first four run as programs: ``python -m simulation.laboratory --seeds 2000``.
"""
