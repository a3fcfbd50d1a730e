"""What a chain's watcher looks for, kept in memory and brought up to date from the database before each match.

An address can only be paid after it was given out, and it is in the table before that: reading new addresses after a
block was fetched and before it is matched misses none. Used by `watcher` and `pending`, in one process.
"""

from cryptowatch.chains.port import BlockContents
from cryptowatch.chains.watchset import WatchList
from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries

SQL = load_queries(__package__, "watchlist.sql")
_ROWS_A_FETCH = 50_000


class ChainWatchList:
    """One chain's list. `interest` is handed to the adapter."""

    def __init__(self, chain: str) -> None:
        self._chain = chain
        self._next_index: dict[tuple[int, int], int] = {}
        self.interest = WatchList()

    async def reload(self, conn: Connection) -> None:
        """All that the database knows: after a start, or when another process moved the cursor."""
        await self.refresh(conn)
        await self.watch_resources(conn)

    async def watch_resources(self, conn: Connection) -> None:
        """Our coins and the inputs of unconfirmed deposits; after a rewind there are more of both."""
        for query in ("unspent_resources", "unconfirmed_resources"):
            async with conn.transaction():
                cursor = await conn.cursor(SQL[query], self._chain)
                while rows := await cursor.fetch(_ROWS_A_FETCH):
                    self.interest.add_resources(row["resource"] for row in rows)

    async def refresh(self, conn: Connection) -> None:
        """Addresses derived since the last call, by any process."""
        for branch in await conn.fetch(SQL["branches"], self._chain):
            key = (branch["scheme"], branch["branch"])
            known = self._next_index.get(key, 0)
            if branch["next_index"] == known:
                continue
            async with conn.transaction():
                cursor = await conn.cursor(SQL["destinations_beyond"], self._chain, *key, known)
                while rows := await cursor.fetch(_ROWS_A_FETCH):
                    self.interest.add_destinations(row["destination"] for row in rows)
                    self._next_index[key] = rows[-1]["key_index"] + 1

    def applied(self, contents: BlockContents) -> None:
        """The block's coins are ours now, and those it used are gone (a rewind reloads)."""
        self.interest.add_resources(
            transfer.tx_hash + transfer.position.to_bytes(4, "big") for transfer in contents.transfers
        )
        self.interest.discard_resources(spend.resource for spend in contents.spends)

    def add_resources(self, resources: tuple[bytes, ...]) -> None:
        self.interest.add_resources(resources)
