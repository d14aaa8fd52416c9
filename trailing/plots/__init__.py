"""Reports in HTML with pictures: one file that opens without a network.

It needs the extra ``plot``: ``pip install 'trailing[plot]'``.
"""

from trailing.extras import import_extra

import_extra("bokeh", extra="plot", purpose="HTML reports")

from trailing.plots.backtests import backtest_page
from trailing.plots.suggestions import suggest_page
from trailing.plots.sweeps import sweep_page

__all__ = ["backtest_page", "suggest_page", "sweep_page"]
