"""A process with the live bot of the documentation on a venue's server, whose host is the second argument."""

from __future__ import annotations

import os
import runpy
import sys
from functools import partial
from pathlib import Path
from typing import Any

from okx_server import PASSPHRASE
from venue_server import API_KEY, SECRET, redirected

import trailing

BOT = Path(__file__).parent.parent.parent / "docs" / "examples" / "11_live_bot.py"

if __name__ == "__main__":
    venue, host = sys.argv[1:]

    def configure(client: Any) -> None:
        client.urls["api"] = redirected(client.urls["api"], host)

    keys = {"TRAILING_API_KEY": API_KEY, "TRAILING_SECRET": SECRET, "TRAILING_PASSWORD": PASSPHRASE}
    os.environ.update(keys)
    trailing.open_ccxt = partial(trailing.open_ccxt, configure=configure)
    sys.argv = [str(BOT), venue]
    runpy.run_path(str(BOT), run_name="__main__")
