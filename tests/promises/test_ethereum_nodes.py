"""P5 on Ethereum: what one node hides or makes up moves no money, and the node is put aside."""

from typing import Any

import pytest

from cryptowatch.ledger.rules import Balance
from tests.promises.conftest import MakeSite
from tests.support.ethereum import CALM, ETH, USDT
from tests.support.running import Site

CHAIN = "ethereum"


async def quarantined(site: Site, node: int) -> None:
    """Until it was told of the node."""

    async def told() -> bool:
        return "quarantined" in await site.story(f"{CHAIN}/{CHAIN}-{node}")

    await site.until(told)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("hidden_logs", {}),
        ("hidden_logs", {"variant": "bloom_emptied"}),
        ("hidden_traces", {}),
        ("forged_block", {"variant": "body", "amount": "5", "asset": "USDT"}),
        ("forged_block", {"variant": "chain", "amount": "5"}),
    ],
    ids=["logs", "logs-and-blooms", "traces", "contents", "chain"],
)
async def test_one_node_that_hides_or_forges_is_put_aside_and_nothing_is_lost_or_made_up(
    make_ethereum_site: MakeSite, kind: str, options: dict[str, Any]
) -> None:
    site = await make_ethereum_site(**CALM)
    await site.start()
    victim = await site.player(USDT)
    if "amount" in options:
        options = {**options, "address": await victim.address()}
    # The fastest node is read from first: the others are slower.
    for honest in (1, 2):
        await site.net.fault(honest, "delay", chain=CHAIN, seconds=0.2)
    await site.reads_first_from(0, chain=CHAIN)
    await site.net.fault(0, kind, chain=CHAIN, **options)
    players = []
    for currency, internal in ((ETH, False), (ETH, True), (USDT, False)):
        player = await site.player(currency)
        await site.net.send(
            await player.address(), "2.5", chain=CHAIN, asset=currency.asset, internal=internal
        )
        players.append(player)
    await site.mine(4, CHAIN)
    await quarantined(site, 0)
    for player in players:
        assert await player.balance() == Balance(total=player.currency.units("2.5"))
    for currency in (ETH, USDT):
        assert await victim.using(currency).deposits() == []
