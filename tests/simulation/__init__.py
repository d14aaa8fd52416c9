"""Simulations of whole lives of a bot, each of which has to end with every invariant intact.

`laboratory` runs worlds on the virtual clock, `killing` kills real processes, `takeover` has two processes compete for one
account, and `remote` serves the paper exchange to other processes. With ``tests`` on the path, each runs as a program:
``python -m simulation.laboratory --seeds 2000``.
"""
