"""Inspect and disturb the library's objects from tests: the only package of tests that reads private attributes.

`manager` is for a running manager, `paper` for the paper exchange and the store in memory. Each asks in the words of the
glossary ("which positions are claimed", "reconcile now") and translates them into the objects of `trailing`. A change of
those objects therefore changes one module here and no test. `tests/test_private_access.py` counts what is left elsewhere.
"""

from inspection.manager import Claim, Inspection, Key

__all__ = ["Claim", "Inspection", "Key"]
