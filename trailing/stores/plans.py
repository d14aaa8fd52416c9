"""Split records from their plans, so that each plan is stored once.

The positions of a wave share one plan, which is half of a record's text. So the stored text of a record has an empty plan, and
another column names the plan by its hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from trailing.core.record import StopRecord
from trailing.errors import StoreError
from trailing.stores.codec import STOP, decode, encode

_PLAN = msgspec.json.Decoder(dict[str, Any])
_PLAN_ENCODER = msgspec.json.Encoder(order="deterministic")


class SplitRecords(msgspec.Struct, frozen=True):
    """Encoded records and their plans.

    Args:
        texts: the JSON text of each record, with an empty plan.
        hashes: the hash of each record's plan.
        plans: the JSON text of each plan, by its hash.
    """

    texts: Sequence[bytes]
    hashes: Sequence[str]
    plans: Mapping[str, bytes]


def split_plans(records: Sequence[StopRecord]) -> SplitRecords:
    """Encode records without their plans, and each plan once.

    Raises:
        StoreError: a record or a plan has no JSON text.
    """
    plans: dict[str, bytes] = {}
    hashes: list[str] = []
    known: dict[int, str] = {}  # by the id of the dict, which is unique while `records` refers to it
    for record in records:
        plan_hash = known.get(id(record.plan))
        if plan_hash is None:
            text = _encode_plan(record.plan)
            plan_hash = known[id(record.plan)] = hashlib.sha256(text).hexdigest()
            plans[plan_hash] = text
        hashes.append(plan_hash)
    texts = [encode(msgspec.structs.replace(record, plan={})) for record in records]
    return SplitRecords(texts, hashes, plans)


def decode_plans(rows: Iterable[tuple[str, Any]], where: str) -> dict[str, dict[str, Any]]:
    """Return the plans by their hashes.

    Args:
        rows: the hash and the JSON text of each plan.
        where: the store, for the error.

    Raises:
        StoreError: naming the row that can't be decoded.
    """
    return {plan_hash: decode(_PLAN, text, f"{where}: plans row ({plan_hash})") for plan_hash, text in rows}


def decode_record(text: Any, plan_hash: str, plans: Mapping[str, dict[str, Any]], where: str) -> StopRecord:
    """Return the record of a JSON text, with its plan. Records with the same plan share its dict.

    Args:
        where: table and key of the row, for the error.

    Raises:
        StoreError: naming the row: it can't be decoded, or its plan is missing.
    """
    plan = plans.get(plan_hash)
    if plan is None:
        raise StoreError(f"{where} names the plan {plan_hash}, which is missing in the table of plans")
    return msgspec.structs.replace(decode(STOP, text, where), plan=plan)


def _encode_plan(plan: dict[str, Any]) -> bytes:
    try:
        return _PLAN_ENCODER.encode(plan)
    except (TypeError, ValueError, OverflowError, msgspec.MsgspecError) as error:
        raise StoreError(f"the plan of a StopRecord can't be encoded: {error}") from error
