"""Addresses that are derived ahead: enough of them, from one key, and nothing written where there are enough."""

import pytest

from cryptowatch.chains.connect import WatchedKey
from cryptowatch.db.pool import Pool
from cryptowatch.deposits.addresses import derive_ahead
from cryptowatch.errors import SettingsError

CHAIN, SCHEME, AHEAD = "bitcoin", 84, 5


def key(text: str) -> WatchedKey:
    """Derives what tells its key, branch and index."""

    def derive(branch: int, first: int, count: int) -> list[tuple[int, bytes, str]]:
        names = [(index, f"{text}-{branch}-{index}") for index in range(first, first + count)]
        return [(index, name.encode(), name) for index, name in names]

    return WatchedKey("chains.bitcoin.wallet.xpub", text, derive, {0: AHEAD})


async def test_what_is_given_out_is_replaced_without_a_gap_and_enough_is_left_as_it_is(pool: Pool) -> None:
    own = key("one")
    assert await derive_ahead(pool, CHAIN, SCHEME, own) == AHEAD
    before = await pool.fetchval("SELECT xmin::text FROM derivation")
    assert await derive_ahead(pool, CHAIN, SCHEME, own) == 0
    assert await pool.fetchval("SELECT xmin::text FROM derivation") == before, "it was written again"
    await pool.execute(
        "WITH a AS (INSERT INTO account (external_id, created_at, updated_at) VALUES ('x', now(), now()) RETURNING id) "
        "UPDATE address SET account_id = a.id, assigned_at = now() FROM a WHERE key_index < 2"
    )
    assert await derive_ahead(pool, CHAIN, SCHEME, own) == 2
    indexes = await pool.fetch("SELECT key_index FROM address ORDER BY key_index")
    assert [row["key_index"] for row in indexes] == list(range(AHEAD + 2))


async def test_another_key_is_refused_even_where_enough_addresses_are_there(pool: Pool) -> None:
    """What players pay to addresses of the first key, the second one could never spend."""
    await derive_ahead(pool, CHAIN, SCHEME, key("one"))
    with pytest.raises(SettingsError, match="not the key"):
        await derive_ahead(pool, CHAIN, SCHEME, key("two"))
    assert await pool.fetchval("SELECT count(*) FROM address") == AHEAD
