"""Referrals beside the chain: a deposit pays its referrer once, and a reorg that a person accepted takes it back."""

from cryptowatch.ledger.rules import Balance
from tests.promises.conftest import MakeSite
from tests.support.running import CHAIN, SMALL, Player, Site, sat

TERMS = {
    "act": {"kind": "first_deposit", "minimum": {"BTC": "0.1"}},
    "levels": [{"kind": "percentage", "parts_per_million": 100_000}],
    "hold_s": 0,
}


async def _holds(player: Player, total: int) -> None:
    async def there() -> bool:
        return await player.balance() == Balance(total=total)

    await player.site.until(there)


async def _referred(site: Site) -> tuple[Player, Player]:
    """A player, and one who signed up by the first one's code."""
    first = (await site.backend.post("/v1/accounts", {"external_id": "referrer"})).body
    body = {"external_id": "newcomer", "referral_code": first["referral_code"]}
    second = (await site.backend.post("/v1/accounts", body)).body
    assert second["referred_by"] == first["id"]
    return Player(site, first["id"]), Player(site, second["id"])


async def test_p2_a_final_deposit_rewards_its_referrer_once_and_an_accepted_reorg_takes_it_back(
    make_site: MakeSite,
) -> None:
    site = await make_site(referrals={"default_programme": TERMS, "poll_interval_s": 0.05})
    await site.start()
    referrer, newcomer = await _referred(site)
    tx_hash = await site.net.send(await newcomer.address(), "0.5")
    await site.mine(SMALL[1] - 1)
    assert await referrer.balance() == Balance()
    await site.mine()
    await _holds(referrer, sat("0.05"))
    await site.stop_daemon()
    await site.start_daemon()
    assert (await referrer.transfer("bet", sat("0.02"))).status == 201
    await site.net.reorg(SMALL[1], drop=[tx_hash])

    async def is_halted() -> bool:
        [chain] = (await site.backend.get("/v1/chains")).body
        return chain["halted"] is not None

    await site.until(is_halted)
    assert await referrer.balance() == Balance(total=sat("0.03"))
    await site.resume(CHAIN, accept_reorg=True)
    await _holds(referrer, -sat("0.02"))
    [reward] = (await site.backend.get("/v1/referrals/rewards")).body["data"]
    assert (reward["state"], reward["amount"]) == ("reversed", "0.05000000")
    assert await site.story(reward["id"]) == ["held", "rewarded", "reversed"]
