"""Inspect a running manager from a test: the only module that reads the manager's private attributes.

A test asks in the words of the glossary ("which positions are claimed", "reconcile now"). This module translates them
into the objects of `trailing.protection`. A change of those objects therefore changes this module and no test.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TypeAlias

from trailing import Manager, Position, StopOrder
from trailing.core.model import Side
from trailing.protection.protection import Protection

Key: TypeAlias = tuple[str, Side]
"""Symbol and side."""


class Claim:
    """One claimed position. Each property returns its value at the moment of the read.

    Two claims are equal where they are the same claim: a position that ended and was protected again has another one.
    """

    def __init__(self, inspection: Inspection, protection: Protection) -> None:
        self._inspection, self._protection = inspection, protection

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Claim) and other._protection is self._protection

    def __hash__(self) -> int:
        return hash(self._protection)

    def __repr__(self) -> str:
        return f"<claim of the {self.position.side} {self.position.symbol}, {self.state}>"

    @property
    def key(self) -> Key:
        return self.position.symbol, self.position.side

    @property
    def position(self) -> Position:
        """The position as it was handed in."""
        return self._protection.position

    @property
    def state(self) -> str:
        """The state in the public words: ``"trailing"``, ``"exiting"`` and so on."""
        return self._protection.stop.state.value

    @property
    def is_opened(self) -> bool:
        """Whether the opening has ended, with or without a stop."""
        return self._protection.opened

    @property
    def has_task(self) -> bool:
        """Whether a position task answers for it: one runs whenever there is work."""
        return self._protection in self._inspection.supervision.kept

    @property
    def has_unknown_request(self) -> bool:
        """Whether a request was sent whose outcome is unknown."""
        return bool(self._protection.pending)

    @property
    def has_work(self) -> bool:
        """Whether a request is in flight, unknown or wanted, so that the exchange may hold two stops or none."""
        protection = self._protection
        return bool(
            protection.pending
            or protection.at_work
            or protection.wanted is not None
            or protection.stop.state == "exiting"
            or protection.stop.native_task
        )

    @property
    def peak(self) -> Decimal:
        """The best price so far."""
        return self._protection.stop.best

    @property
    def target(self) -> Decimal:
        """The tightest stop price wanted so far."""
        return self._protection.stop.target

    @property
    def stop(self) -> StopOrder | None:
        """The live stop that counts, as the exchange acknowledged it."""
        return self._protection.stop.order

    @property
    def stop_price(self) -> Decimal | None:
        """The price of that stop."""
        return self._protection.stop.price

    @property
    def native(self) -> StopOrder | None:
        """The exchange's own trailing order, as the exchange acknowledged it."""
        return self._protection.stop.native

    @property
    def is_trailed_by_exchange(self) -> bool:
        """Whether the exchange's own trailing order moves in place of our stop."""
        return self._protection.stop.native_trails


class Inspection:
    """Everything that tests ask of a running manager."""

    def __init__(self, manager: Manager) -> None:
        self.supervision = manager._supervision

    def claims(self) -> tuple[Claim, ...]:
        """Every claimed position, in the order of the claims."""
        return tuple(Claim(self, protection) for protection in self.supervision.registry.all())

    def claims_of(self, symbol: str) -> tuple[Claim, ...]:
        """The claimed positions of a symbol: at most one, or two where the account is hedged."""
        return tuple(Claim(self, protection) for protection in self.supervision.registry.of_symbol(symbol))

    def claimed(self) -> set[Key]:
        """The keys of all claims."""
        return {claim.key for claim in self.claims()}

    def with_task(self) -> set[Key]:
        """The keys of all claims that a position task answers for."""
        return {claim.key for claim in self.claims() if claim.has_task}

    def with_work(self) -> set[Key]:
        """The keys of all claims with a request that is in flight, unknown or wanted."""
        return {claim.key for claim in self.claims() if claim.has_work}

    def natives(self) -> dict[Key, StopOrder]:
        """The exchange's own trailing order of every claim that has one."""
        return {claim.key: claim.native for claim in self.claims() if claim.native is not None}
