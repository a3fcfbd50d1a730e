"""Addresses for players: derived ahead from the wallet's public keys, each given to one account only, without gaps.

`derive_ahead` runs in the watcher's process; `assign_address` in the API's. An address is in the table, and so watched,
before anybody can be told of it (P2). No private key is near (P9).
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from cryptowatch.chains.connect import WatchedKey
from cryptowatch.db.pool import Connection, Pool, connection, transaction
from cryptowatch.db.queries import load_queries
from cryptowatch.errors import SettingsError
from cryptowatch.ledger.accounts import ensure_players

SQL = load_queries(__package__, "addresses.sql")

_DERIVED_AT_ONCE_MAX = 20_000


async def derive_ahead(
    pool: Pool, chain: str, scheme: int, key: WatchedKey, ahead: Mapping[int, int] | None = None
) -> int:
    """Keep so many addresses of each of the key's branches free (by default what the key asks); how many were derived.

    The counter's row is locked while deriving, so two processes never derive the same, and indexes commit in order.
    Raises SettingsError when the wallet's key is another one than the addresses in the table came from.
    """
    counts = (key.ahead if ahead is None else ahead).items()
    return sum([await _derive_branch(pool, chain, scheme, key, branch, count) for branch, count in counts])


async def _derive_branch(
    pool: Pool, chain: str, scheme: int, key: WatchedKey, branch: int, ahead: int
) -> int:
    async with connection(pool) as conn:
        if await conn.fetchval(SQL["has_enough"], chain, scheme, branch, ahead, key.text):
            return 0  # as nearly always: nothing is held or written
    derived = 0
    while True:
        async with transaction(pool) as conn:
            row = await conn.fetchrow(SQL["lock_derivation"], chain, scheme, branch, key.text)
            assert row is not None
            if row["xpub"] != key.text:
                raise SettingsError(
                    key.setting, "is not the key that this database's addresses were derived from"
                )
            free = await conn.fetchval(SQL["count_free"], chain, scheme, branch, ahead)
            count = min(ahead - free, _DERIVED_AT_ONCE_MAX)
            if count <= 0:
                return derived
            first = row["next_index"]
            found = await asyncio.to_thread(key.derive, branch, first, count)
            await conn.execute(
                SQL["insert_addresses"],
                chain,
                scheme,
                branch,
                [script for _, script, _ in found],
                [text for _, _, text in found],
                [index for index, _, _ in found],
            )
            await conn.execute(SQL["move_derivation"], chain, scheme, branch, first + count)
            derived += count


async def assign_address(
    conn: Connection,
    chain: str,
    scheme: int,
    account_id: UUID,
    assets: Sequence[str],
    *,
    reuse: bool,
    now: datetime,
) -> str | None:
    """A fresh address for the account, or with `reuse` its latest. None: all that were derived ahead are taken.

    Opens the account's balances of `assets` (what the address can receive), so that no block has to.
    """
    if reuse:
        latest: str | None = await conn.fetchval(SQL["latest_of_account"], chain, account_id)
        if latest is not None:
            return latest
    assigned: str | None = await conn.fetchval(SQL["assign"], chain, scheme, account_id, now)
    if assigned is not None:
        await ensure_players(conn, [(account_id, asset) for asset in assets])
    return assigned
