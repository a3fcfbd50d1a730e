"""The queue of withdrawals: who must wait, who must not, and what a person is shown."""

from datetime import timedelta

from cryptowatch.chains.bitcoin.payments import BitcoinPlan
from cryptowatch.chains.denied import Denied
from cryptowatch.chains.plans import Plan
from cryptowatch.chains.port import FeeMarket
from cryptowatch.db.pool import transaction
from cryptowatch.errors import SignerRefused, SignerWaits
from cryptowatch.payouts.machine import Event
from cryptowatch.payouts.policy import Refusal
from cryptowatch.payouts.reviews import Person, decide
from cryptowatch.payouts.view import WithdrawalView
from cryptowatch.signing.families import SignedTransaction
from cryptowatch.treasury.consolidate import ConsolidationRules
from tests.attacks.world import CHAIN, MARKET_RULES, PATIENCE, World


async def test_a_frozen_accounts_queued_withdrawal_waits_for_a_person(world: World) -> None:
    account, destination = await world.rich()
    await world.coin(50_000_000, destination)
    await world.mine(3)
    await world.withdraw(account, 1_000_000)
    await world.pool.execute("UPDATE account SET status = 'frozen' WHERE id = $1", account)
    await world.pay()
    [payout] = await world.withdrawals()
    assert (payout.state, payout.reason) == ("in_review", "account_frozen")
    assert world.nodes.sent == []


async def test_a_queued_withdrawal_of_an_account_in_debt_waits_for_a_person(world: World) -> None:
    _, of_others = await world.rich()
    await world.coin(50_000_000, of_others)
    await world.mine(3)
    account, destination = await world.account()
    before = world.at.height
    await world.coin(20_000_000, destination)
    await world.mine(3)
    await world.withdraw(account, 15_000_000)
    await world.back_to(before, accepted=True)
    await world.mine(1)
    await world.pay()
    [payout] = await world.withdrawals()
    assert (payout.state, payout.reason) == ("in_review", "account_in_debt")
    assert world.nodes.sent == []


async def test_a_debt_that_came_meanwhile_is_not_approved_to_another_player(world: World) -> None:
    """In the ledger nothing comes after the approval that could look again."""
    account, destination = await world.account()
    _, of_a_friend = await world.account()
    before = world.at.height
    await world.coin(20_000_000, destination)
    await world.mine(3)
    withdrawal_id = await world.withdraw(account, 15_000_000, to=of_a_friend, approval_from=1)
    await world.back_to(before, accepted=True)

    async def approved() -> WithdrawalView | Refusal | None:
        async with transaction(world.pool) as conn:
            return await decide(
                conn,
                withdrawal_id,
                Event.APPROVE,
                by=Person("key_2", None),
                denied=Denied(),
                decimals=8,
                now=world.now,
            )

    refused = await approved()
    assert isinstance(refused, Refusal)
    assert refused.code == "account_in_debt"
    [payout] = await world.withdrawals()
    assert payout.state == "in_review"
    # Once it is paid off, the same approval holds.
    await world.coin(20_000_000, destination)
    await world.mine(3)
    assert isinstance(await approved(), WithdrawalView)
    assert [payout.state for payout in await world.withdrawals()] == ["finalized"]


async def test_withdrawals_that_nothing_can_cover_do_not_starve_those_behind_them(world: World) -> None:
    account, destination = await world.rich()
    await world.coin(50_000_000, destination)
    await world.mine(3)
    for _ in range(3):
        await world.withdraw(account, 900_000_000)
    for number in range(3):
        await world.withdraw(account, 100_000 + number)
    worker = world.worker(count_max=3)
    for _ in range(3):
        await worker.step()
    states = [payout.state for payout in await world.withdrawals()]
    assert states == ["queued"] * 3 + ["sending"] * 3


async def test_whole_batches_that_are_not_covered_with_their_fees_hide_nobody_behind_them(
    world: World,
) -> None:
    account, destination = await world.rich()
    await world.coin(1_000_000, destination)
    await world.mine(3)
    for less in (0, 3, 1, 2, 0, 4, 2, 5):
        await world.withdraw(account, 1_000_000 - less)
    await world.withdraw(account, 100_000)
    worker = world.worker(count_max=3)
    await worker.step()
    assert [payout.state for payout in await world.withdrawals()] == ["queued"] * 8 + ["sending"]
    # And nobody is looked at for ever.
    assert await worker.step() == 0


async def test_one_that_the_money_covers_alone_leaves_though_a_batch_would_cost_too_much(
    world: World,
) -> None:
    account, destination = await world.rich()
    await world.coin(1_000_000, destination)
    await world.mine(3)
    for _ in range(3):
        await world.withdraw(account, 1_000_000 - 700)
    await world.payouts.step()
    assert sorted(payout.state for payout in await world.withdrawals()) == ["queued", "queued", "sending"]


async def test_what_leaves_alone_and_is_not_covered_with_its_fee_holds_up_nobody(world: World) -> None:
    account, destination = await world.rich()
    await world.coin(1_000_000, destination)
    await world.mine(3)
    alone = await world.withdraw(account, 1_000_000)
    await world.withdraw(account, 100_000)
    # As after a batch that the signer refused.
    await world.pool.execute("UPDATE withdrawal SET alone = true WHERE id = $1", alone)
    await world.payouts.step()
    assert [payout.state for payout in await world.withdrawals()] == ["queued", "sending"]
    await world.coin(2_000_000, destination)
    await world.mine(3)
    await world.payouts.step()
    assert [payout.state for payout in await world.withdrawals()] == ["sending", "sending"]


async def test_payouts_leave_beside_transactions_whose_fee_is_never_raised(world: World) -> None:
    """Those stay where a rising market leaves them, for as long as it does."""
    account, destination = await world.rich()
    await world.coin(1_000_000, destination)
    await world.mine(3)
    await world.withdraw(account, 100_000)
    await world.pool.execute(
        "INSERT INTO lineage (id, chain, kind, state, attempts, priority, created_at, updated_at) "
        "SELECT gen_random_uuid(), $1, kind, 'open', 1, 'economy', now(), now() "
        "FROM unnest('{consolidation, cold_refill}'::text[]) AS kind, generate_series(1, 20)",
        CHAIN,
    )
    await world.payouts.step()
    assert [payout.state for payout in await world.withdrawals()] == ["sending"]


async def test_one_assets_full_hour_at_the_signer_holds_up_no_other(world: World) -> None:
    account, destination = await world.rich()
    for _ in range(2):
        await world.coin(1_000_000, destination)
    await world.mine(3)
    for amount in (100_000, 200_000):
        await world.withdraw(account, amount)
        await world.payouts.step()
    (waits, first), (_, other) = await world.attempts()
    # On a chain with several.
    await world.pool.execute("UPDATE lineage SET asset = 'USDT' WHERE id = $1", waits)

    async def sign(plan: Plan, lineage_id: str) -> SignedTransaction:
        assert plan.tx_hash is not None
        if plan.tx_hash == first.tx_hash:
            raise SignerWaits("hourly_limit: says the test")
        return SignedTransaction(plan.tx_hash, b"signed" + plan.tx_hash)

    await world.sender_with(sign).step()
    assert world.nodes.sent == [b"signed" + other.tx_hash]


async def test_a_withdrawal_shows_its_place_in_a_replacement_that_lost_its_change(world: World) -> None:
    account, destination = await world.rich()
    await world.coin(4_000_006 + 2_200, destination)
    await world.mine(3)
    for number in range(4):
        await world.withdraw(account, 1_000_000 + number)
    world.payouts = world.worker(seed=2)
    await world.pay()
    await world.mine(PATIENCE)
    world.nodes.market = FeeMarket({2: 10_000}, 1_000)
    await world.sender.step()
    (_, first), (_, last) = await world.attempts()
    assert first.change_positions
    assert not last.change_positions
    assert first.positions != last.positions
    await world.payouts.step()
    await _shows_the_outputs_of(world, last.tx_hash, "sending")
    await world.mine_plans(last)
    await world.payouts.step()
    await _shows_the_outputs_of(world, last.tx_hash, "confirmed")


async def test_a_withdrawal_shows_its_place_in_the_first_attempt_when_a_block_has_that_one(
    world: World,
) -> None:
    account, destination = await world.rich()
    await world.coin(4_000_006 + 2_200, destination)
    await world.mine(3)
    for number in range(4):
        await world.withdraw(account, 1_000_000 + number)
    world.payouts = world.worker(seed=2)
    await world.pay()
    await world.mine(PATIENCE)
    world.nodes.market = FeeMarket({2: 10_000}, 1_000)
    await world.pay()
    await world.payouts.step()
    (_, first), (_, last) = await world.attempts()
    assert first.positions != last.positions
    await world.mine_plans(first)
    await world.payouts.step()
    await _shows_the_outputs_of(world, first.tx_hash, "confirmed")


async def _shows_the_outputs_of(world: World, tx_hash: bytes, state: str) -> None:
    outputs = next(
        attempt.plan.transaction.outputs
        for attempt in await world.attempts()
        if attempt.plan.tx_hash == tx_hash
    )
    for payout in await world.withdrawals():
        assert (payout.state, payout.tx_hash) == (state, tx_hash)
        assert payout.position is not None
        assert outputs[payout.position].amount == payout.amount


async def test_a_payout_that_the_signer_refused_is_sent_once_a_person_approves_it(world: World) -> None:
    account, destination = await world.rich()
    await world.coin(100_600, destination)
    await world.mine(3)
    withdrawal_id = await world.withdraw(account, 100_000)
    refused: list[bytes] = []

    async def refuse(plan: Plan, lineage_id: str) -> SignedTransaction:
        assert plan.tx_hash is not None
        refused.append(plan.tx_hash)
        raise SignerRefused("fee_too_high: says the test")

    await world.payouts.step()
    await world.sender_with(refuse).step()
    await world.payouts.step()
    [payout] = await world.withdrawals()
    assert payout.state == "in_review"
    assert str(payout.reason).startswith("signer_refused")
    async with transaction(world.pool) as conn:
        decided = await decide(
            conn,
            withdrawal_id,
            Event.APPROVE,
            by=Person("key_2", None),
            denied=Denied(),
            decimals=8,
            now=world.now,
        )
    assert isinstance(decided, WithdrawalView)
    await world.pay()
    assert world.nodes.sent == [b"signed" + refused[0]]
    [payout] = await world.withdrawals()
    assert (payout.state, payout.tx_hash) == ("sending", refused[0])


async def test_an_economy_payout_waits_for_cheaper_fees_hides_nobody_and_survives_a_restart(
    world: World,
) -> None:
    account, destination = await world.rich()
    for _ in range(3):
        await world.coin(50_000_000, destination)
    await world.mine(3)
    await world.cheap_day()
    for number in range(3):
        await world.withdraw(account, 100_000 + number, "economy")
    await world.withdraw(account, 200_000)
    await world.withdraw(account, 300_000, "urgent")
    for _ in range(3):
        await world.worker(count_max=1).step()
        world.restart_market()
    assert [payout.state for payout in await world.withdrawals()] == ["queued"] * 3 + ["sending"] * 2
    world.nodes.market = FeeMarket({24: 1_100}, 1_000)
    world.restart_market()
    await world.worker(count_max=1).step()
    assert [payout.state for payout in await world.withdrawals()] == [
        "sending",
        *["queued"] * 2,
        *["sending"] * 2,
    ]


async def test_an_economy_payout_leaves_at_its_deadline_whatever_fees_are(world: World) -> None:
    account, destination = await world.rich()
    await world.coin(50_000_000, destination)
    await world.mine(3)
    await world.cheap_day()
    for _ in range(2):
        await world.withdraw(account, 100_000, "economy")
    deadline = timedelta(seconds=MARKET_RULES.terms.patience.wait_max_s["economy"])
    await world.pool.execute(
        "UPDATE withdrawal SET created_at = now() - $1::interval "
        "WHERE id = (SELECT id FROM withdrawal ORDER BY created_at LIMIT 1)",
        deadline,
    )
    await world.worker().step()
    assert [payout.state for payout in await world.withdrawals()] == ["sending", "queued"]


async def test_an_address_that_is_denied_while_it_waits_goes_to_a_person_and_holds_up_nobody(
    world: World,
) -> None:
    account, destination = await world.rich()
    await world.coin(1_000_000, destination)
    await world.mine(3)
    bad = await world.withdraw(account, 100_000)
    await world.withdraw(account, 100_001)
    script = await world.pool.fetchval("SELECT destination FROM withdrawal WHERE id = $1", bad)
    world.denied = Denied(frozenset({(CHAIN, script)}))
    await world.pay()
    states = {row.amount: (row.state, row.reason) for row in await world.withdrawals()}
    assert states == {100_000: ("in_review", "address_denied"), 100_001: ("sending", None)}


async def test_a_consolidation_that_the_signer_refuses_is_tried_seldom_and_frees_its_coins(
    world: World,
) -> None:
    _, destination = await world.rich()
    for _ in range(4):
        await world.coin(1_000_000, destination)
    await world.mine(3)
    consolidator = world.consolidator(ConsolidationRules(1, 2, 1, 100_000, 60))

    async def refuse(plan: Plan, lineage_id: str) -> SignedTransaction:
        raise SignerRefused("too_large: says the test")

    assert await consolidator.step() == 1
    assert await world.pool.fetchval("SELECT count(*) FROM coin WHERE reserved_by IS NOT NULL") == 2
    await world.sender_with(refuse).step()
    assert await world.pool.fetchval("SELECT count(*) FROM coin WHERE reserved_by IS NOT NULL") == 0
    assert await consolidator.step() == 0
    await world.pool.execute("UPDATE lineage SET updated_at = updated_at - interval '1 hour'")
    assert await consolidator.step() == 1


async def test_a_consolidation_leaves_what_the_queue_needs_and_waits_for_low_fees(world: World) -> None:
    account, destination = await world.rich()
    for _ in range(4):
        await world.coin(1_000_000, destination)
    await world.mine(3)
    assert await world.consolidator(ConsolidationRules(1, 2, 1, 4_999, 60)).step() == 0
    consolidator = world.consolidator(ConsolidationRules(1, 2, 1, 5_000, 60))
    await world.withdraw(account, 2_000_001)
    assert await consolidator.step() == 0
    await world.pool.execute("UPDATE withdrawal SET amount = 2000000")
    assert await consolidator.step() == 1


async def test_a_batch_that_the_signer_refuses_is_tried_one_by_one_and_only_the_culprit_waits(
    world: World,
) -> None:
    account, destination = await world.rich()
    for _ in range(3):
        await world.coin(1_000_000, destination)
    await world.mine(3)
    for amount in (100_000, 100_001, 100_002):
        await world.withdraw(account, amount)

    async def refuse(plan: Plan, lineage_id: str) -> SignedTransaction:
        assert isinstance(plan, BitcoinPlan)
        assert plan.tx_hash is not None
        if any(output.amount == 100_001 for output in plan.transaction.outputs):
            raise SignerRefused("not_allowed: says the test")
        return SignedTransaction(plan.tx_hash, b"signed" + plan.tx_hash)

    sender = world.sender_with(refuse)
    for _ in range(6):
        await world.payouts.step()
        await sender.step()
    await world.payouts.step()
    states = {row.amount: row.state for row in await world.withdrawals()}
    assert states == {100_000: "sending", 100_001: "in_review", 100_002: "sending"}


async def test_payouts_that_are_on_their_way_are_followed_without_reading_whole_tables(world: World) -> None:
    """What `tests/database/test_plans` shows of the statements holds only where the worker asks for it."""
    await world.pool.execute(
        "CREATE TABLE followed (seqscan text);"
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "INSERT INTO followed VALUES (current_setting('enable_seqscan')); RETURN NULL; END $$;"
        "CREATE TRIGGER note BEFORE UPDATE ON withdrawal FOR EACH STATEMENT EXECUTE FUNCTION note()"
    )
    await world.payouts.step()
    noted = await world.pool.fetch("SELECT DISTINCT seqscan FROM followed")
    assert [row["seqscan"] for row in noted] == ["off"]
    assert await world.pool.fetchval("SHOW enable_seqscan") == "on", "with its transaction it is over"
