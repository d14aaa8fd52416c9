"""Trailing stops for futures positions, for bots written on trio."""
