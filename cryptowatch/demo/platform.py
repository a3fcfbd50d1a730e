"""The chapters about the casino's own business: a referral, an agent. Played after those about the chain."""

import asyncio
import sys
from datetime import datetime, timedelta

from cryptowatch.accounts.play import TransferKind
from cryptowatch.agents.plans import ANY, Plan
from cryptowatch.agents.worker import AgentWorker, agent_rules
from cryptowatch.api.agents import AgentRequest, NewPlan
from cryptowatch.api.referrals import NewProgramme, RewardsQuery
from cryptowatch.clock import SystemClock
from cryptowatch.db.pool import open_pool
from cryptowatch.demo.casino import until
from cryptowatch.demo.story import BTC, Chapter, Story
from cryptowatch.referrals.terms import FirstDepositTerms, ShareTerms, Terms
from cryptowatch.referrals.view import RewardView
from cryptowatch.settings import load_settings

_FINAL = 3
_HOLD_S = 2


async def referrals(s: Story) -> None:
    """A referral is rewarded once the deposit is final; another one is taken back by a reorg"""
    terms = Terms(act=FirstDepositTerms(minimum={"BTC": "0.1"}), levels=[ShareTerms(100_000)], hold_s=_HOLD_S)
    await s.casino.client.create_programme(
        NewProgramme("ten percent of the first deposit", terms, is_default=True)
    )
    alice, code = s.accounts["alice"], await s.casino.referral_code("alice")
    before = (await s.casino.balance(alice))["total"]
    gina, harry = [await s.sign_up(name, referral_code=code) for name in ("gina", "harry")]
    s.line.tell("alice's code brings gina and harry")
    _, tx_hash = await s.pay_in("gina", "0.2")
    await s.net.mine(1)
    await s.casino.until_deposit(gina, tx_hash, "credited")
    s.line.check(not await _rewards(s, gina), "gina's 0.2 is credited: alice has earned nothing yet")
    await s.net.mine(2)
    await s.casino.until_deposit(gina, tx_hash, "finalized")
    await until(lambda: _is_rewarded(s, gina, "held", "paid"), "a reward")
    s.line.check(await s.witness.confirmations(tx_hash) == _FINAL, "it is final: alice's reward is held")
    await until(lambda: _is_rewarded(s, gina, "paid"), "its payment")
    balance = await s.casino.balance(alice)
    s.line.check(
        balance["total"] == before + BTC("0.02"), "when the hold period is over, alice has her 0.02, once"
    )
    await s.net.mine(_FINAL)
    _, lost = await s.pay_in("harry", "0.5")
    await s.net.mine(_FINAL)
    await s.casino.until_deposit(harry, lost, "finalized")
    await until(lambda: _is_rewarded(s, harry, "paid"), "the reward for harry")
    s.line.tell("harry's 0.5 is final, too, and brings alice 0.05")
    await s.net.reorg(_FINAL, drop=[lost])
    await until(lambda: _is_halted(s), "the halt of the chain")
    s.line.check(
        await s.witness.confirmations(lost) == -1,
        "a reorg below finality drops it: payouts halt until a person looked",
    )
    await _resume(s)
    await s.casino.until_deposit(harry, lost, "reversed", "replaced")
    await until(lambda: _is_rewarded(s, harry, "reversed"), "the reversal of the reward")
    balance = await s.casino.balance(alice)
    s.line.check(
        balance["total"] == before + BTC("0.02"),
        "the person accepts it: harry's deposit is reversed, and the reward with it",
    )


async def agents(s: Story) -> None:
    """An agent's day is closed into a statement, of which a level never pays more than it earns"""
    client = s.casino.client
    master_plan, sub_plan = [
        await client.create_plan(NewPlan(f"{share / 100:.0f} percent of revenue", Plan({ANY: share})))
        for share in (5000, 4000)
    ]
    own = {name: await s.sign_up(name) for name in ("master", "sub")}
    master = await client.create_agent(AgentRequest(own["master"], master_plan.id, "master"))
    sub = await client.create_agent(AgentRequest(own["sub"], sub_plan.id, "sub", master.id))
    ivan = await s.sign_up("ivan", agent=sub.id)
    _, tx_hash = await s.pay_in("ivan", "0.3")
    await s.net.mine(_FINAL)
    await s.casino.until_deposit(ivan, tx_hash, "finalized")
    for kind, amount in ((TransferKind.BET, "0.2"), (TransferKind.WIN, "0.1")):
        await s.casino.transfer(ivan, kind, amount, product="slots", round_name="slots 1")
    s.line.tell("ivan plays with the sub-agent's link: 0.2 bet, 0.1 won back")
    await _close_the_day(s)
    statements = {one.agent_id: one async for one in client.list_agent_statements()}
    of_sub, of_master = statements[sub.id], statements[master.id]
    s.line.check(
        BTC(of_sub.amount) == BTC("0.04") and of_sub.state == "paid",
        "a clock of tomorrow closes the day: 40 % of the 0.1 for the sub-agent",
    )
    s.line.check(
        BTC(of_master.amount) == BTC("0.01") and BTC(of_master.granted) == BTC("0.05"),
        "the master agent has 50 % of it, and pays the sub-agent out of that: 0.01 is left",
    )
    s.line.check(
        (await s.casino.balance(own["sub"]))["withdrawable"] == BTC("0.04"), "both can withdraw it at once"
    )


async def _rewards(s: Story, account: str) -> list[RewardView]:
    found = s.casino.client.list_rewards(RewardsQuery())
    return [reward async for reward in found if reward.account_id == account]


async def _is_rewarded(s: Story, account: str, *states: str) -> bool:
    return [reward.state in states for reward in await _rewards(s, account)] == [True]


async def _is_halted(s: Story) -> bool:
    chains = await s.casino.client.list_chains()
    return any(chain.halted is not None for chain in chains if chain.chain == "bitcoin")


async def _resume(s: Story) -> None:
    """As the operator does."""
    command = ["resume", "bitcoin", "--accept-reorg", "--config", str(s.net.settings_file)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cryptowatch", *command, stdout=asyncio.subprocess.DEVNULL
    )
    await process.wait()


class _Tomorrow(SystemClock):
    """A day and two hours ahead, when the day is closed."""

    def now(self) -> datetime:
        return super().now() + timedelta(hours=26)


async def _close_the_day(s: Story) -> None:
    """By the worker that the daemon has, whose clock would take until tomorrow."""
    rules = agent_rules(load_settings(s.net.settings_file))
    async with open_pool(s.net.postgres_dsn, application_name="demo", size_max=2) as pool:
        worker = AgentWorker(pool, _Tomorrow(), rules)
        while await worker.step():
            pass


CHAPTERS: tuple[Chapter, ...] = (referrals, agents)
