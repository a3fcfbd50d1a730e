"""The last word after every test of the promises: ledger, chain and events must agree to the satoshi.

What the chain says is asked of a node directly (`scantxoutset`, over the wallet's descriptors), never of what
the daemon remembers.
"""

from cryptowatch.ledger.verify import verify
from tests.support.running import ASSET, CHAIN, Site, node_sat

#: Indexes of each branch that are searched.
_RANGE = 400


async def assert_sound(site: Site) -> None:
    """Every posting, balance and event of the database keeps the ledger's rules (P1, P8)."""
    async with site.pool.acquire() as conn:
        report = await verify(conn)
    assert report.sound, report.findings[:5]


async def on_chain(site: Site) -> int:
    """What the wallet's unspent coins are worth by a node's word."""
    descriptors = [
        {"desc": f"{kind}({xpub}/{branch}/*)", "range": _RANGE}
        for kind, xpub in (("wpkh", site.keys.xpub_bip84), ("tr", site.keys.xpub_bip86))
        for branch in (0, 1)
    ]
    found = await site.net.bitcoin[0].rpc("scantxoutset", "start", descriptors)
    return node_sat(found["total_amount"])


async def in_custody(site: Site) -> int:
    """What the ledger says that the wallet holds for players and from fees: without what was booked as the house's."""
    funds = await house_balance(site, f"house_funds:{CHAIN}")
    return -await house_balance(site, f"custody:{CHAIN}") - funds


async def house_balance(site: Site, role: str, asset: str = ASSET) -> int:
    """From the postings themselves."""
    async with site.pool.acquire() as conn:
        balance = await conn.fetchval(
            "SELECT coalesce(sum(amount), 0)::text FROM ("
            "  SELECT -amount AS amount FROM posting JOIN ledger_account a ON a.id = from_account"
            "  WHERE a.role = $1 AND a.asset = $2"
            "  UNION ALL"
            "  SELECT amount FROM posting JOIN ledger_account a ON a.id = to_account"
            "  WHERE a.role = $1 AND a.asset = $2"
            ") AS moved",
            role,
            asset,
        )
    return int(balance)


async def assert_balanced(site: Site, *, uncredited: int = 0) -> None:
    """Custody equals the wallet's coins. Holds at rest: nothing on its way, everything final.

    `uncredited`: coins for which no deposit is credited (quarantined, or paid to an address of nobody).
    """
    assert await in_custody(site) == await on_chain(site) - uncredited


async def paid_to(site: Site, address: str) -> list[int]:
    """Every output that the chain holds for a stranger's address, in satoshi."""
    found = await site.net.bitcoin[0].rpc("scantxoutset", "start", [f"addr({address})"])
    return sorted(node_sat(coin["amount"]) for coin in found["unspents"])
