"""What each kind of posting does to a balance, and what it refuses."""

import pytest

from cryptowatch.db.pool import connection, transaction
from cryptowatch.ledger.accounts import ensure_accounts, house
from cryptowatch.ledger.balances import roll_up
from cryptowatch.ledger.postings import Batch, PostingMisuse, PostingRefused, post_all
from cryptowatch.ledger.rules import (
    EFFECTS,
    Balance,
    CustomerAccount,
    HouseAccount,
    Kind,
    Posting,
    Status,
    customer_posting,
    house_transfer,
)
from cryptowatch.money import AMOUNT_MAX, BaseUnits
from tests.database.world import NOW, World

CREDITS = [kind for kind, effect in EFFECTS.items() if effect.total == 1]


@pytest.mark.parametrize("kind", CREDITS)
async def test_a_credit_raises_the_balance_and_lowers_the_house(world: World, kind: Kind) -> None:
    player = await world.player()
    await world.done(kind, player, 70)
    assert (await world.balance(player)).total == 70
    assert await world.house(world.house_of(kind)) == -70


@pytest.mark.parametrize("kind", [Kind.BET, Kind.ADJUSTMENT_DEBIT])
async def test_a_debit_takes_all_that_is_playable_and_not_one_unit_more(world: World, kind: Kind) -> None:
    player = await world.player(final=30, unfinalized=70, held=10)
    assert (await world.post(world.posting(kind, player, 91))).status is Status.INSUFFICIENT_FUNDS
    posted = await world.post(world.posting(kind, player, 90))
    assert posted.status is Status.CREATED
    assert posted.balance == Balance(total=10, unfinalized=70, held=10)


async def test_a_refused_posting_may_be_posted_again_once_there_is_money(world: World) -> None:
    player = await world.player()
    bet = world.posting(Kind.BET, player, 5)
    assert (await world.post(bet)).status is Status.INSUFFICIENT_FUNDS
    await world.done(Kind.WIN, player, 5)
    assert (await world.post(bet)).status is Status.CREATED


async def test_p6_unfinalized_money_is_playable_but_cannot_be_held(world: World) -> None:
    player = await world.player(unfinalized=100)
    assert (await world.post(world.posting(Kind.HOLD, player, 1))).status is Status.INSUFFICIENT_FUNDS
    await world.done(Kind.BET, player, 100)


async def test_p6_finality_unlocks_exactly_what_was_credited(world: World) -> None:
    player = await world.player()
    first = await world.done(Kind.DEPOSIT_CREDIT, player, 100)
    await world.done(Kind.DEPOSIT_CREDIT, player, 40)
    await world.done(Kind.DEPOSIT_FINALIZE, player, 100, resolves=first)
    assert (await world.post(world.posting(Kind.HOLD, player, 101))).status is Status.INSUFFICIENT_FUNDS
    await world.done(Kind.HOLD, player, 100)


async def test_p6_winnings_do_not_unlock_an_unfinal_deposit(world: World) -> None:
    player = await world.player(unfinalized=100)
    await world.done(Kind.BET, player, 60)
    await world.done(Kind.WIN, player, 500)
    assert (await world.balance(player)).withdrawable == 440
    assert (await world.post(world.posting(Kind.HOLD, player, 441))).status is Status.INSUFFICIENT_FUNDS


async def test_held_money_is_not_playable_until_released(world: World) -> None:
    player = await world.player(final=100)
    hold = await world.done(Kind.HOLD, player, 80)
    assert (await world.post(world.posting(Kind.BET, player, 21))).status is Status.INSUFFICIENT_FUNDS
    await world.done(Kind.HOLD_RELEASE, player, 80, resolves=hold)
    await world.done(Kind.BET, player, 100)


async def test_a_settled_hold_leaves_for_custody_and_its_fee_for_the_fee_income(world: World) -> None:
    player = await world.player(final=100)
    hold = await world.done(Kind.HOLD, player, 80)
    settle = world.posting(Kind.HOLD_SETTLE, player, 80, resolves=hold)
    await world.post_all(settle, house_transfer("wd:1:fee", world.custody, world.fees, BaseUnits(3)))
    assert await world.balance(player) == Balance(total=20, unfinalized=0, held=0)
    assert await world.house(world.custody) == -100 + 77
    assert await world.house(world.fees) == 3
    await world.assert_sound()


@pytest.mark.parametrize("first", [Kind.HOLD_SETTLE, Kind.HOLD_RELEASE])
@pytest.mark.parametrize("second", [Kind.HOLD_SETTLE, Kind.HOLD_RELEASE])
async def test_p3_a_hold_is_settled_or_released_but_never_both(
    world: World, first: Kind, second: Kind
) -> None:
    player = await world.player(final=200, held=100)
    hold = await world.done(Kind.HOLD, player, 80)
    await world.done(first, player, 80, resolves=hold)
    before = await world.balance(player)
    again = world.posting(second, player, 80, resolves=hold)
    assert (await world.post(again)).status is Status.ALREADY_RESOLVED
    assert [posted.status for posted in await world.post_each(again)] == [Status.ALREADY_RESOLVED]
    assert await world.balance(player) == before


@pytest.mark.parametrize("first", [Kind.DEPOSIT_FINALIZE, Kind.DEPOSIT_REVERSE])
@pytest.mark.parametrize("second", [Kind.DEPOSIT_FINALIZE, Kind.DEPOSIT_REVERSE])
async def test_p2_a_credit_is_finalized_or_reversed_but_never_both(
    world: World, first: Kind, second: Kind
) -> None:
    player = await world.player(unfinalized=500)
    credit = await world.done(Kind.DEPOSIT_CREDIT, player, 80)
    await world.done(first, player, 80, resolves=credit)
    again = world.posting(second, player, 80, resolves=credit)
    assert (await world.post(again)).status is Status.ALREADY_RESOLVED


async def test_a_hold_and_its_release_may_stand_in_one_batch_once(world: World) -> None:
    player = await world.player(final=100)
    hold = world.posting(Kind.HOLD, player, 80)
    release = world.posting(Kind.HOLD_RELEASE, player, 80, resolves=hold.key)
    settle = world.posting(Kind.HOLD_SETTLE, player, 80, resolves=hold.key)
    posted = await world.post_each(hold, release, settle)
    assert [p.status for p in posted] == [Status.CREATED, Status.CREATED, Status.ALREADY_RESOLVED]
    await world.assert_sound()


@pytest.mark.parametrize("wrong", ["amount", "player", "kind", "unknown"])
async def test_resolving_what_does_not_fit_is_a_mistake_and_changes_nothing(world: World, wrong: str) -> None:
    player, other = await world.player(final=100), await world.player(final=100, held=10)
    hold = await world.done(Kind.HOLD, player, 10)
    credit = await world.done(Kind.DEPOSIT_CREDIT, player, 10)
    release = world.posting(
        Kind.HOLD_RELEASE,
        other if wrong == "player" else player,
        9 if wrong == "amount" else 10,
        resolves={"kind": credit, "unknown": "no such key"}.get(wrong, hold),
    )
    with pytest.raises(PostingMisuse):
        await world.post(release)
    with pytest.raises(PostingMisuse):
        await world.post_each(release)
    await world.assert_sound()


async def test_a_reversal_of_spent_money_leaves_a_debt_that_the_next_credits_pay_first(world: World) -> None:
    player = await world.player()
    credit = await world.done(Kind.DEPOSIT_CREDIT, player, 100)
    await world.done(Kind.BET, player, 60)
    await world.done(Kind.DEPOSIT_REVERSE, player, 100, resolves=credit)
    indebted = await world.balance(player)
    assert (indebted.debt, indebted.playable, indebted.withdrawable) == (60, 0, 0)
    assert (await world.post(world.posting(Kind.BET, player, 1))).status is Status.INSUFFICIENT_FUNDS
    await world.done(Kind.WIN, player, 50)
    assert (await world.balance(player)).debt == 10
    await world.done(Kind.DEPOSIT_CREDIT_FINAL, player, 25)
    assert await world.balance(player) == Balance(total=15, unfinalized=0, held=0)
    await world.assert_sound()


async def test_a_reversal_leaves_holds_standing_and_their_release_pays_the_debt(world: World) -> None:
    player = await world.player(final=100)
    credit = await world.done(Kind.DEPOSIT_CREDIT, player, 100)
    hold = await world.done(Kind.HOLD, player, 100)
    await world.done(Kind.BET, player, 100)
    await world.done(Kind.DEPOSIT_REVERSE, player, 100, resolves=credit)
    assert (await world.balance(player)).debt == 100
    await world.done(Kind.HOLD_RELEASE, player, 100, resolves=hold)
    assert await world.balance(player) == Balance(0, 0, 0)


async def test_settling_a_hold_neither_raises_nor_lowers_a_debt(world: World) -> None:
    player = await world.player(final=100)
    credit = await world.done(Kind.DEPOSIT_CREDIT, player, 100)
    hold = await world.done(Kind.HOLD, player, 100)
    await world.done(Kind.BET, player, 70)
    await world.done(Kind.DEPOSIT_REVERSE, player, 100, resolves=credit)
    before = (await world.balance(player)).debt
    await world.done(Kind.HOLD_SETTLE, player, 100, resolves=hold)
    assert before == (await world.balance(player)).debt == 70
    await world.assert_sound()


async def test_a_final_deposit_is_reversed_once_whichever_way_it_became_final(world: World) -> None:
    player = await world.player()
    credit = await world.done(Kind.DEPOSIT_CREDIT, player, 10)
    finalized = await world.done(Kind.DEPOSIT_FINALIZE, player, 10, resolves=credit)
    straight = await world.done(Kind.DEPOSIT_CREDIT_FINAL, player, 5)
    await world.done(Kind.DEPOSIT_REVERSE_FINAL, player, 10, resolves=finalized)
    await world.done(Kind.DEPOSIT_REVERSE_FINAL, player, 5, resolves=straight)
    again = world.posting(Kind.DEPOSIT_REVERSE_FINAL, player, 5, resolves=straight)
    assert (await world.post(again)).status is Status.ALREADY_RESOLVED
    assert await world.balance(player) == Balance(0, 0, 0)
    await world.assert_sound()


@pytest.mark.parametrize("batch", [False, True])
async def test_p2_the_same_key_and_content_posts_once_and_gives_the_first_result_again(
    world: World, batch: bool
) -> None:
    player = await world.player(final=100)
    bet = world.posting(Kind.BET, player, 100, reference="round 1")
    first = await world.post(bet)
    await world.done(Kind.WIN, player, 7)
    again = (await world.post_each(bet))[0] if batch else await world.post(bet)
    assert (again.status, again.balance) == (Status.EXISTS, first.balance)
    assert (await world.balance(player)).total == 7


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("other", ["amount", "kind", "player", "reference"])
async def test_p2_the_same_key_with_other_content_is_a_conflict_and_posts_nothing(
    world: World, batch: bool, other: str
) -> None:
    player, somebody = await world.player(final=100), await world.player(final=100)
    await world.post(world.posting(Kind.BET, player, 10, key="k", reference="round 1"))
    changed = world.posting(
        Kind.ADJUSTMENT_DEBIT if other == "kind" else Kind.BET,
        somebody if other == "player" else player,
        11 if other == "amount" else 10,
        key="k",
        reference="round 2" if other == "reference" else "round 1",
    )
    posted = (await world.post_each(changed))[0] if batch else await world.post(changed)
    assert posted.status is Status.CONFLICT
    assert ((await world.balance(player)).total, (await world.balance(somebody)).total) == (90, 100)
    await world.assert_sound()


@pytest.mark.parametrize("batch", [False, True])
async def test_p2_the_same_key_resolving_another_hold_is_a_conflict(world: World, batch: bool) -> None:
    player = await world.player(final=100)
    one, two = await world.done(Kind.HOLD, player, 10), await world.done(Kind.HOLD, player, 10)
    release = world.posting(Kind.HOLD_RELEASE, player, 10, key="k", resolves=one)
    other = world.posting(Kind.HOLD_RELEASE, player, 10, key="k", resolves=two)
    for posting, expected in [(release, Status.CREATED), (other, Status.CONFLICT), (release, Status.EXISTS)]:
        posted = (await world.post_each(posting))[0] if batch else await world.post(posting)
        assert posted.status is expected


async def test_p2_a_key_twice_in_one_batch_posts_once(world: World) -> None:
    player = await world.player(final=100)
    bet, other = world.posting(Kind.BET, player, 10, key="k"), world.posting(Kind.BET, player, 11, key="k")
    posted = await world.post_each(bet, bet, other)
    assert [p.status for p in posted] == [Status.CREATED, Status.EXISTS, Status.CONFLICT]
    assert (await world.balance(player)).total == 90


async def test_a_batch_refuses_singly_in_the_order_given(world: World) -> None:
    player = await world.player(final=10)
    amounts = [6, 5, 4, 1]
    posted = await world.post_each(*(world.posting(Kind.BET, player, amount) for amount in amounts))
    refused = Status.INSUFFICIENT_FUNDS
    assert [p.status for p in posted] == [Status.CREATED, refused, Status.CREATED, refused]
    assert await world.balance(player) == Balance(0, 0, 0)
    await world.assert_sound()


async def test_a_win_in_the_batch_pays_for_the_bet_after_it_and_not_for_the_one_before(world: World) -> None:
    player = await world.player(final=10)
    bet, win, second = (
        world.posting(kind, player, amount)
        for kind, amount in [(Kind.BET, 15), (Kind.WIN, 10), (Kind.BET, 20)]
    )
    posted = await world.post_each(bet, win, second)
    assert [p.status for p in posted] == [Status.INSUFFICIENT_FUNDS, Status.CREATED, Status.CREATED]


async def test_all_or_nothing_posts_all(world: World) -> None:
    player, other = await world.player(final=10), await world.player()
    await world.post_all(world.posting(Kind.BET, player, 10), world.posting(Kind.WIN, other, 9))
    assert (await world.balance(player), await world.balance(other)) == (Balance(), Balance(9, 0, 0))


async def test_all_or_nothing_again_and_with_more_posts_what_is_new_and_nothing_twice(world: World) -> None:
    players = [await world.player() for _ in range(4)]
    wins = [world.posting(Kind.WIN, player, 5) for player in players]
    await world.post_all(*wins[:2])
    await world.post_all(*wins)
    await world.post_all(*wins)
    assert [await world.balance(player) for player in players] == [Balance(5, 0, 0)] * 4
    await world.assert_sound()


async def test_all_or_nothing_with_one_refusal_among_many_players_moves_nobody(world: World) -> None:
    players = [await world.player(final=amount) for amount in (9, 8, 7)]
    bets = [world.posting(Kind.BET, player, 8) for player in players]
    with pytest.raises(PostingRefused) as refusal:
        await world.post_all(*bets)
    assert (refusal.value.posting, refusal.value.status) == (bets[2], Status.INSUFFICIENT_FUNDS)
    assert [(await world.balance(player)).total for player in players] == [9, 8, 7]
    await world.assert_sound()


async def test_all_or_nothing_refuses_a_taken_key_with_other_content(world: World) -> None:
    first, second = await world.player(), await world.player()
    taken = await world.done(Kind.WIN, first, 5)
    other = world.posting(Kind.WIN, first, 6, key=taken)
    with pytest.raises(PostingRefused) as refusal:
        await world.post_all(world.posting(Kind.WIN, second, 1), other)
    assert (refusal.value.posting, refusal.value.status) == (other, Status.CONFLICT)
    assert await world.balance(second) == Balance()
    await world.assert_sound()


async def test_all_or_nothing_names_the_refused_posting_and_undoes_the_callers_transaction(
    world: World,
) -> None:
    player = await world.player(final=10)
    bet, too_much = world.posting(Kind.BET, player, 6), world.posting(Kind.BET, player, 6)

    async def win_then_bet() -> None:
        async with transaction(world.pool) as conn:
            await post_all(conn, [world.posting(Kind.WIN, player, 1)], NOW)
            await post_all(conn, [bet, too_much], NOW)

    with pytest.raises(PostingRefused) as refusal:
        await win_then_bet()
    assert (refusal.value.posting, refusal.value.status) == (too_much, Status.INSUFFICIENT_FUNDS)
    assert (await world.balance(player)).total == 10
    await world.assert_sound()


@pytest.mark.parametrize(
    "second",
    [
        "alike",
        "another kind",
        "another way",
        "another house account",
        "the same player",
        "the same key",
        "none",
    ],
)
async def test_a_batch_that_is_put_together_in_parts_does_what_its_postings_say(
    world: World, second: str
) -> None:
    player, other = await world.player(final=10), await world.player(final=10)
    win = world.posting(Kind.WIN, player, 5)
    parts: dict[str, list[Posting]] = {
        "alike": [world.posting(Kind.WIN, other, 2)],
        "another kind": [world.posting(Kind.REFUND, other, 2)],
        "another way": [world.posting(Kind.BET, other, 2)],
        "another house account": [customer_posting(Kind.WIN, "k", other, world.fees, BaseUnits(2))],
        "the same player": [world.posting(Kind.WIN, player, 2)],
        "the same key": [win],
        "none": [],
    }
    batch = Batch()
    batch.add([win])
    batch.add(parts[second])
    batch.add([])
    async with connection(world.pool) as conn:
        await batch.post(conn, NOW)
        kinds = {row["key"]: row["kind"] for row in await conn.fetch("SELECT key, kind FROM posting")}
    assert all(kinds[posting.key] == posting.kind for posting in [win, *parts[second]])
    totals = [(await world.balance(one)).total for one in (player, other)]
    assert (
        totals
        == {
            "alike": [15, 12],
            "another kind": [15, 12],
            "another way": [15, 8],
            "another house account": [15, 12],
            "the same player": [17, 10],
            "the same key": [15, 10],
            "none": [15, 10],
        }[second]
    )
    assert await world.house(world.fees) == (-2 if second == "another house account" else 0)
    await world.assert_sound()


async def test_an_empty_batch_is_answered_with_nothing(world: World) -> None:
    assert await world.post_each() == []
    await world.post_all()


async def test_amounts_of_256_bits_go_through_exactly(world: World) -> None:
    player = await world.player(final=AMOUNT_MAX)
    await world.post_all(world.posting(Kind.BET, player, AMOUNT_MAX - 1))
    assert await world.balance(player) == Balance(1, 0, 0)
    assert await world.house(world.game) == AMOUNT_MAX - 1
    assert await world.house(world.custody) == -AMOUNT_MAX
    await world.assert_sound()


@pytest.mark.parametrize("amount", [0, -1, AMOUNT_MAX + 1])
async def test_amounts_that_are_none_cannot_be_written(world: World, amount: int) -> None:
    player = await world.player()
    with pytest.raises(ValueError, match="256 bits"):
        world.posting(Kind.WIN, player, amount)


async def test_a_house_account_of_another_asset_is_a_mistake_and_changes_nothing(world: World) -> None:
    player = await world.player(final=10)
    async with transaction(world.pool) as conn:
        (foreign,) = await ensure_accounts(conn, [house("game", "USDT")])
    bet = customer_posting(Kind.BET, "k", player, HouseAccount(foreign), BaseUnits(5))
    with pytest.raises(PostingMisuse):
        await world.post(bet)
    with pytest.raises(PostingMisuse):
        await world.post_each(bet)
    with pytest.raises(PostingMisuse):
        await world.post_all(bet)
    assert (await world.balance(player)).total == 10


@pytest.mark.parametrize(
    "case",
    [
        "unknown player",
        "player as house",
        "wrong direction",
        "sides on a hold",
        "half a hold",
        "from nowhere",
        "to nowhere",
        "house twice",
    ],
)
async def test_postings_whose_accounts_do_not_fit_are_mistakes(world: World, case: str) -> None:
    player, other = await world.player(final=10), await world.player(final=10)
    amount = BaseUnits(1)
    posting = {
        "unknown player": Posting("k", Kind.WIN, CustomerAccount(10**9), world.game, 10**9, amount),
        "player as house": Posting("k", Kind.WIN, player, other, player, amount),
        "wrong direction": Posting("k", Kind.BET, player, world.game, player, amount),
        "sides on a hold": Posting("k", Kind.HOLD, player, world.game, world.fees, amount),
        "half a hold": Posting("k", Kind.HOLD, player, world.game, None, amount),
        "from nowhere": Posting("k", Kind.WIN, player, None, player, amount),
        "to nowhere": Posting("k", Kind.BET, player, player, None, amount),
        "house twice": Posting("k", Kind.HOUSE_TRANSFER, None, world.game, world.game, amount),
    }[case]
    with pytest.raises(PostingMisuse):
        await world.post(posting)
    with pytest.raises(PostingMisuse):
        await world.post_each(posting)
    await world.assert_sound()


async def test_house_accounts_may_go_negative_and_are_exact_before_and_after_a_roll_up(world: World) -> None:
    await world.post_all(house_transfer("a", world.custody, world.fees, BaseUnits(7)))
    repeated = await world.post(house_transfer("a", world.custody, world.fees, BaseUnits(7)))
    other = await world.post(house_transfer("a", world.custody, world.fees, BaseUnits(8)))
    assert (repeated.status, other.status) == (Status.EXISTS, Status.CONFLICT)
    async with connection(world.pool) as conn:
        for folded in (2, 0):
            assert (await world.house(world.custody), await world.house(world.fees)) == (-7, 7)
            assert await roll_up(conn) == folded
    await world.assert_sound()


async def test_a_batch_on_a_new_database_takes_time_by_its_size_and_not_by_its_square(world: World) -> None:
    """Twelve thousand take a fifth of a second; by the square of it, eight thousand took twelve."""
    player = await world.player()
    credits = [world.posting(Kind.DEPOSIT_CREDIT, player, 1) for _ in range(12_000)]
    finals = [world.posting(Kind.DEPOSIT_FINALIZE, player, 1, resolves=credit.key) for credit in credits]
    # As autovacuum leaves a table that is empty: what is planned now is planned for no rows, and the plan is kept.
    await world.pool.execute("VACUUM ANALYZE posting")
    async with transaction(world.pool) as conn:
        await post_all(conn, credits[:1], NOW)
        await post_all(conn, finals[:1], NOW)
        await conn.execute("SET LOCAL statement_timeout = '8s'")
        await post_all(conn, credits[1:], NOW)
        await post_all(conn, finals[1:], NOW)
    assert await world.balance(player) == Balance(12_000, 0, 0)
