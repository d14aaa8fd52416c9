"""Take positions under protection: waves of open positions, waves of entries, and positions that others opened."""
