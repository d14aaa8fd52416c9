"""What an account has set for its symbols: leverage and margin modes."""

from __future__ import annotations


class Settings:
    """Leverage and margin modes, in the venue's own words.

    Attributes:
        leverages: by whatever the venue sets it for; a missing one is `usual_leverage`.
        margin_modes: by symbol; a missing one is the venue's usual mode.
    """

    usual_leverage = "20"

    def __init__(self) -> None:
        self.leverages: dict[tuple[str, ...], str] = {}
        self.margin_modes: dict[str, str] = {}

    def leverage(self, *about: str) -> str:
        """Return the leverage."""
        return self.leverages.get(about, self.usual_leverage)
