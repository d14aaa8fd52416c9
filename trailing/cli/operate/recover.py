"""`trailing recover`: compare a store with the account and fix the differences."""

from __future__ import annotations

from trailing.errors import UsageError
from trailing.logs import Level


def main(
    *,
    paper: bool,
    exchange: str | None,
    store: str,
    account: str,
    credentials: str | None,
    table: str | None,
    testnet: bool,
    allow_unverified: bool,
    dry_run: bool,
    json: bool,
    log_level: Level,
) -> int:
    """Recover an account. The arguments are the options of `trailing recover`.

    Returns:
        The exit code; 1 if a position has no stop afterwards.

    Raises:
        UsageError: not exactly one of `paper` and `exchange` was given, or another option can't be right.
    """
    if paper == (exchange is not None):
        raise UsageError("recover: exactly one of --paper and --exchange VENUE must be given")
    if exchange is None:
        from trailing.cli.operate.recover_paper import recover_paper  # noqa: PLC0415 - the other one is not needed

        return recover_paper(store, dry_run=dry_run, json=json, log_level=log_level)
    from trailing.cli.operate.recover_exchange import recover_exchange  # noqa: PLC0415

    return recover_exchange(
        exchange,
        store,
        account=account,
        credentials=credentials,
        table=table,
        testnet=testnet,
        allow_unverified=allow_unverified,
        dry_run=dry_run,
        json=json,
        log_level=log_level,
    )
