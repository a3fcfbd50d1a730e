"""Looks at blocks below the cursor again, for what was not watched when they passed: `cryptowatch rescan`.

Needed after an import of addresses, or when a chain was started too late. Credits nothing twice (P2): what is known
already is left as it is. Safe beside a running daemon.
"""

from collections.abc import Callable
from dataclasses import replace

from cryptowatch.chains.nodes import NodePool
from cryptowatch.clock import Clock
from cryptowatch.db.pool import Pool, connection, transaction
from cryptowatch.db.queries import load_queries
from cryptowatch.deposits import cursor as chain_cursor
from cryptowatch.deposits.apply import apply_again
from cryptowatch.deposits.machine import HeadMoved, State
from cryptowatch.deposits.rules import ChainRules
from cryptowatch.deposits.watchlist import ChainWatchList
from cryptowatch.errors import NoQuorum, OperatorError

SQL = load_queries(__package__, "release.sql")


async def rescan(
    pool: Pool,
    nodes: NodePool,
    rules: ChainRules,
    clock: Clock,
    first: int,
    last: int | None,
    progress: Callable[[int, int], None],
) -> int:
    """Blocks `first` to `last` (None: the cursor's); how many deposits were found that were not known.

    `progress` hears (done, total). Raises OperatorError for a range that the watcher has not passed, NoQuorum.
    """
    async with connection(pool) as conn:
        cursor = await chain_cursor.read_cursor(conn, rules.chain)
        if cursor is None:
            raise OperatorError(f"{rules.chain} was never started: run the daemon first")
        last = cursor.block.height if last is None else last
        if not 0 <= first <= last <= cursor.block.height:
            raise OperatorError(
                f"the range must lie within 0 and {cursor.block.height}, where the watcher is"
            )
        watchlist = ChainWatchList(rules.chain)
        await watchlist.reload(conn)
    found = 0
    # Beyond the range only uses of the coins that were found in it are looked for, up to the cursor.
    until = cursor.block.height
    for height in range(first, until + 1):
        agreed = await nodes.agreed_hash(height)
        if agreed is None:
            raise NoQuorum(f"{rules.chain}: no hash is agreed at height {height}")
        raw = await nodes.block(agreed, height)
        contents = raw.contents(watchlist.interest)
        if height > last:
            contents = replace(contents, transfers=())
        async with transaction(pool) as conn:
            row = await conn.fetchrow(SQL["lock_head"], rules.chain)
            assert row is not None
            head = HeadMoved(row["height"], row["final_height"])
            ours = await chain_cursor.block_at(conn, rules.chain, height)
            if ours is not None and ours.hash != agreed:
                raise NoQuorum(f"{rules.chain}: a reorg is under way at height {height}; try again")
            applied = await apply_again(conn, rules, contents, head, clock.now())
        watchlist.applied(contents)
        found += sum(
            1 for c in applied.changes if c.record.version == 0 and c.deposit.state is not State.REPLACED
        )
        progress(height - first + 1, until - first + 1)
    return found
