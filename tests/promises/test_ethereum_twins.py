"""Two daemons on one database, on Ethereum: nobody is paid twice, and no nonce is used for two payouts."""

import asyncio
from typing import Any

from cryptowatch.ledger.rules import Balance
from tests.promises.conftest import MakeSite
from tests.support.ethereum import (
    ETH,
    FINAL,
    USDT,
    House,
    attempts,
    fee_of,
    lineages,
    paid_to,
    settled,
    stranger,
)

CHAIN = "ethereum"
SMALL_BATCHES: dict[str, Any] = {
    "chains": {CHAIN: {"batching": {"count_max": 3}, "wallet": {"sweep_interval_s": 0.3}}}
}


async def test_many_withdrawals_at_once_are_each_paid_once(make_ethereum_site: MakeSite) -> None:
    site = await make_ethereum_site(**SMALL_BATCHES)
    await site.start_processes()
    port = site.hold_port()
    site.spawn_daemon(site.write_settings("second.toml", port))
    await site.until(lambda: site.is_ready(port))
    house = House(site)
    await house.opens()
    tokens, coins = await house.serves(USDT, "900"), await house.serves(ETH, "9")
    wanted = {stranger(): (player, number) for number in range(12) for player in (tokens, coins)}

    async def ask(address: str) -> str:
        player, number = wanted[address]
        return await player.withdraw(amount_of(number, player), address)

    asked = await asyncio.gather(*map(ask, wanted))
    await settled(site, asked)
    for address, (player, number) in wanted.items():
        assert await paid_to(site, player.currency, address) == amount_of(number, player)
    for player, brought in ((tokens, "900"), (coins, "9")):
        spent = sum(amount_of(number, player) + fee_of(player.currency) for number in range(12))
        assert await player.balance() == Balance(total=player.currency.units(brought) - spent)
    made = await attempts(site)
    assert len({one["lineage_id"] for one in made}) == len(await lineages(site, "payout"))
    await site.mine(2 * FINAL, CHAIN)
    used = await site.pool.fetch("SELECT reserved_by FROM nonce WHERE reserved_by IS NOT NULL")
    assert len({row["reserved_by"] for row in used}) == len(used)
    await house.assert_balanced()


def amount_of(number: int, player: Any) -> int:
    """Of the withdrawal with this number."""
    return int(player.currency.units(f"{2 + number}" if player.currency == USDT else f"0.{number + 10}"))
