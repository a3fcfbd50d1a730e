"""The planner of a chain of accounts: what each kind of transaction is, what it takes, and what replaces it."""

from collections.abc import Sequence
from dataclasses import replace

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given

from cryptowatch.chains.ethereum.our_calls import (
    OWN_COIN,
    Approve,
    Call,
    PayNative,
    PayTokens,
    Sweep,
    TransferToken,
    read_call,
)
from cryptowatch.chains.ethereum.payments import EthereumPlan, EthereumPlanner
from cryptowatch.chains.ethereum.transaction import Authorization
from cryptowatch.chains.plans import Bid, Insufficient, Recipient, Sender, Sweepable
from cryptowatch.money import BaseUnits
from cryptowatch.settings.chains import Gas
from tests.support.account_wallet import (
    DELEGATE,
    DEPOSITS,
    ETHER,
    FACTS,
    GWEI,
    OTHER,
    PAYOUTS,
    SENDER,
    STRANGER,
    SWEEPER,
    USDC,
    USDT,
    VAULT,
    account,
)

#: All different, so that each shows where it was used.
GAS = Gas(coin_payment=1_000, token_payment=20_000, sweep=300_000, delegation=4_000_000, call=50_000_000)
PLANNER = EthereumPlanner(FACTS, GAS, DELEGATE)
#: One wei is 100 base units.
SCALED = EthereumPlanner(replace(FACTS, asset_scale=2), GAS, DELEGATE)
BID = Bid(30 * GWEI, 2 * GWEI)
FROM = Sender(account(SENDER), (44, 1, 1), 7)
MINE, PLAYER, OTHER_PLAYER = account(VAULT), account(DEPOSITS[0]), account(DEPOSITS[1])
PLAYERS_OWN = Sender(PLAYER, (44, 0, 0), 0)


def recipients(*amounts: int) -> list[Recipient]:
    places = (STRANGER, OTHER, PLAYER)
    return [Recipient(to, BaseUnits(amount)) for to, amount in zip(places, amounts, strict=False)]


def call_of(plan: EthereumPlan) -> Call | None:
    return read_call(plan.transaction.data)


def swept(*delegated: bool) -> list[Sweepable]:
    return [
        Sweepable(account(path), (44, 0, path.index), BaseUnits(10 + path.index), yes)
        for path, yes in zip(DEPOSITS, delegated, strict=False)
    ]


# --- payments -----------------------------------------------------------------------------------------------


def test_one_payment_of_the_chains_coin_goes_straight() -> None:
    plan = PLANNER.pay(FROM, "ETH", recipients(5), BID)
    t = plan.transaction
    assert (t.chain_id, t.nonce, t.max_fee, t.tip) == (FACTS.chain_id, 7, 30 * GWEI, 2 * GWEI)
    assert (t.to, t.value, t.data, t.gas, t.authorizations) == (STRANGER, 5, b"", 1_000, ())
    assert (plan.account, plan.key_path, plan.authorized_by) == (FROM.account, FROM.key_path, ())
    assert (plan.fee, plan.size, plan.tx_hash, plan.positions) == (30_000 * GWEI, 1_000, None, ())
    assert plan.resources == (FROM.account + (7).to_bytes(8, "big"),)
    assert PLANNER.needs(plan) == {(FROM.account, "ETH"): 5 + plan.fee}


def test_several_go_through_the_payouts_contract_with_their_sum() -> None:
    plan = PLANNER.pay(FROM, "ETH", recipients(5, 6, 7), BID)
    t = plan.transaction
    assert (t.to, t.value, t.gas) == (PAYOUTS, 18, 50_003_000)
    assert call_of(plan) == PayNative((STRANGER, OTHER, PLAYER), (5, 6, 7))
    assert PLANNER.needs(plan) == {(FROM.account, "ETH"): 18 + plan.fee}


def test_tokens_leave_the_vault_and_the_sender_pays_the_fee() -> None:
    amounts = (5 * 10**12, 6 * 10**12)
    plan = PLANNER.pay(FROM, "USDT", recipients(*amounts), BID)
    t = plan.transaction
    assert (t.to, t.value, t.gas) == (PAYOUTS, 0, 50_040_000)
    assert call_of(plan) == PayTokens(USDT, (STRANGER, OTHER), (5, 6))
    assert PLANNER.needs(plan) == {(MINE, "USDT"): sum(amounts), (FROM.account, "ETH"): plan.fee}


def test_one_token_payment_goes_through_the_contract_too() -> None:
    plan = PLANNER.pay(FROM, "USDC", recipients(5), BID)
    assert (call_of(plan), plan.transaction.gas) == (PayTokens(USDC, (STRANGER,), (5,)), 50_020_000)


def test_what_the_sender_takes_and_pays_in_one_coin_is_one_need() -> None:
    vault = Sender(MINE, (44, 1, 0), 0)
    assert PLANNER.needs(PLANNER.pay(vault, "USDC", recipients(5), BID)) == {
        (MINE, "USDC"): 5,
        (MINE, "ETH"): 50_020_000 * 30 * GWEI,
    }


def test_amounts_in_the_ledgers_units_are_scaled_to_the_chains() -> None:
    one, two = (
        SCALED.pay(FROM, "ETH", recipients(500), BID),
        SCALED.pay(FROM, "ETH", recipients(500, 600), BID),
    )
    assert (one.transaction.value, two.transaction.value) == (5, 11)
    assert call_of(two) == PayNative((STRANGER, OTHER), (5, 6))
    assert (one.fee, SCALED.needs(one)[FROM.account, "ETH"]) == (3_000_000 * GWEI, 500 + 3_000_000 * GWEI)
    assert SCALED.fund(FROM, PLAYER, BaseUnits(700), BID).transaction.value == 7


@pytest.mark.parametrize(
    ("planner", "asset", "amount"), [(PLANNER, "USDT", 10**12 + 1), (SCALED, "ETH", 199)]
)
def test_an_amount_that_the_chain_cannot_express_is_an_error_of_ours(
    planner: EthereumPlanner, asset: str, amount: int
) -> None:
    with pytest.raises(AssertionError, match="cannot express"):
        planner.pay(FROM, asset, recipients(amount), BID)


@pytest.mark.parametrize(("asset", "amounts"), [("USDT", (1,)), ("ETH", (1, 2))])
def test_without_contracts_batches_and_tokens_are_an_error_of_ours(
    asset: str, amounts: Sequence[int]
) -> None:
    planner = EthereumPlanner(replace(FACTS, payouts=None), GAS, DELEGATE)
    with pytest.raises(AssertionError, match="the settings name the contracts"):
        planner.pay(FROM, asset, [Recipient(STRANGER, BaseUnits(n * 10**12)) for n in amounts], BID)


# --- what the wallet needs for itself -----------------------------------------------------------------------


def test_a_sweep_brings_the_authorizations_of_those_that_are_new() -> None:
    plan = PLANNER.sweep(FROM, "USDT", swept(False, True, False), BID)
    t = plan.transaction
    accounts = [account(path) for path in DEPOSITS]
    assert (t.to, t.value, t.gas) == (SWEEPER, 0, 50_000_000 + 3 * 300_000 + 2 * 4_000_000)
    assert call_of(plan) == Sweep(USDT, tuple(accounts[:3]))
    assert t.authorizations == (Authorization(DELEGATE, 0),) * 2
    assert plan.authorized_by == ((accounts[0], (44, 0, 0)), (accounts[2], (44, 0, 2)))
    assert PLANNER.needs(plan) == {
        (accounts[0], "USDT"): 10,
        (accounts[1], "USDT"): 11,
        (accounts[2], "USDT"): 12,
        (FROM.account, "ETH"): plan.fee,
    }


def test_a_sweep_of_coins_names_no_token() -> None:
    plan = PLANNER.sweep(FROM, "ETH", swept(True), BID)
    assert call_of(plan) == Sweep(OWN_COIN, (PLAYER,))
    assert (plan.transaction.authorizations, plan.transaction.gas) == ((), 50_300_000)


def test_a_refill_is_a_payment_of_coins() -> None:
    plan = PLANNER.fund(FROM, PLAYER, BaseUnits(5), BID)
    t = plan.transaction
    assert (t.to, t.value, t.data, t.gas) == (PLAYER, 5, b"", 1_000)
    assert PLANNER.needs(plan) == {(FROM.account, "ETH"): 5 + plan.fee}


def test_coins_are_collected_less_the_fee_so_that_nothing_stays() -> None:
    plan = PLANNER.collect(PLAYERS_OWN, "ETH", BaseUnits(ETHER), BID)
    t, fee = plan.transaction, 21_000 * 30 * GWEI
    assert (t.to, t.value, t.data, t.gas) == (MINE, ETHER - fee, b"", 21_000)
    assert PLANNER.collecting_fee("ETH", BID) == plan.fee == fee
    assert PLANNER.needs(plan) == {(PLAYER, "ETH"): ETHER}


def test_tokens_are_collected_whole_and_the_account_pays_the_fee() -> None:
    plan = PLANNER.collect(PLAYERS_OWN, "USDT", BaseUnits(5 * 10**12), BID)
    t = plan.transaction
    assert (t.to, t.value, t.gas) == (USDT, 0, 20_000)
    assert call_of(plan) == TransferToken(MINE, 5)
    assert PLANNER.collecting_fee("USDT", BID) == plan.fee == 20_000 * 30 * GWEI
    assert PLANNER.needs(plan) == {(PLAYER, "USDT"): 5 * 10**12, (PLAYER, "ETH"): plan.fee}


def test_collecting_is_told_in_the_ledgers_units() -> None:
    assert SCALED.collecting_fee("ETH", Bid(3)) == 21_000 * 3 * 100
    plan = SCALED.collect(PLAYERS_OWN, "ETH", BaseUnits(10_000_000), Bid(3))
    assert (plan.transaction.value, plan.fee) == (37_000, 6_300_000)


def test_a_void_pays_nobody_and_goes_to_its_sender() -> None:
    plan = PLANNER.void(FROM, BID)
    t = plan.transaction
    assert (t.to, t.value, t.data, t.gas) == (FROM.account, 0, b"", 21_000)
    assert PLANNER.needs(plan) == {(FROM.account, "ETH"): plan.fee}


def test_the_setup_lets_the_payouts_contract_spend_the_token() -> None:
    plan = PLANNER.setup(FROM, "USDC", BID)
    assert (plan.transaction.to, plan.transaction.value, plan.transaction.gas) == (USDC, 0, 50_000_000)
    assert call_of(plan) == Approve(PAYOUTS)
    assert PLANNER.needs(plan) == {(FROM.account, "ETH"): plan.fee}


# --- who is paid together -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("empty", "chosen"),
    [
        ((False, False, False), [0, 1, 2]),
        ((False, True, False), [0, 2]),
        ((True, False, False), [0]),
        ((True, True, True), [0]),
        ((False,), [0]),
    ],
)
def test_an_account_that_does_not_exist_yet_is_paid_alone(empty: Sequence[bool], chosen: list[int]) -> None:
    assert PLANNER.together(recipients(1, 2, 3)[: len(empty)], empty) == chosen


def test_only_the_chains_own_coin_minds_who_exists() -> None:
    assert PLANNER.minds_empty("ETH")
    assert not PLANNER.minds_empty("USDT")


# --- replacements -------------------------------------------------------------------------------------------

EVERY_KIND = {
    "pay one": PLANNER.pay(FROM, "ETH", recipients(5), BID),
    "pay several": PLANNER.pay(FROM, "ETH", recipients(5, 6), BID),
    "pay tokens": PLANNER.pay(FROM, "USDC", recipients(5, 6), BID),
    "sweep": PLANNER.sweep(FROM, "USDC", swept(True, False), BID),
    "fund": PLANNER.fund(FROM, PLAYER, BaseUnits(5), BID),
    "collect tokens": PLANNER.collect(PLAYERS_OWN, "USDC", BaseUnits(5), BID),
    "collect coins": PLANNER.collect(PLAYERS_OWN, "ETH", BaseUnits(ETHER), BID),
    "void": PLANNER.void(FROM, BID),
    "void of a deposit account": PLANNER.void(PLAYERS_OWN, BID),
    "setup": PLANNER.setup(FROM, "USDC", BID),
}
HIGHER = Bid(40 * GWEI, 3 * GWEI)
every_kind = pytest.mark.parametrize("plan", EVERY_KIND.values(), ids=EVERY_KIND)


@every_kind
def test_every_kind_survives_the_disk(plan: EthereumPlan) -> None:
    assert PLANNER.read(plan.to_json()) == plan
    bumped = PLANNER.bump(plan, HIGHER)
    assert isinstance(bumped, EthereumPlan) and PLANNER.read(bumped.to_json()) == bumped


@every_kind
def test_a_replacement_offers_more_for_the_same_in_the_same_nonce(plan: EthereumPlan) -> None:
    """P3."""
    bumped = PLANNER.bump(plan, HIGHER)
    assert isinstance(bumped, EthereumPlan)
    value = bumped.transaction.value
    assert bumped.transaction == replace(plan.transaction, max_fee=HIGHER.rate, tip=HIGHER.tip, value=value)
    assert bumped.resources == plan.resources
    assert bumped.authorized_by == plan.authorized_by
    if plan is not EVERY_KIND["collect coins"]:
        assert (value, bumped.takes) == (plan.transaction.value, plan.takes)


def test_the_higher_fee_of_collected_coins_comes_out_of_them() -> None:
    """The account has nothing else: with the same value no node would ever take it."""
    plan = EVERY_KIND["collect coins"]
    bumped = PLANNER.bump(plan, HIGHER)
    assert isinstance(bumped, EthereumPlan)
    assert bumped.fee == 21_000 * 40 * GWEI
    assert bumped.transaction.value == ETHER - bumped.fee
    assert PLANNER.needs(bumped) == PLANNER.needs(plan) == {(PLAYER, "ETH"): ETHER}


def test_coins_that_the_fee_would_eat_up_are_insufficient() -> None:
    plan = PLANNER.collect(PLAYERS_OWN, "ETH", BaseUnits(21_000 * 30 * GWEI + 10), BID)
    assert PLANNER.bump(plan, Bid(30 * GWEI + 1)) == Insufficient(21_000 - 10 + 1)
    just = PLANNER.collect(PLAYERS_OWN, "ETH", BaseUnits(21_000 * 31 * GWEI), BID)
    assert PLANNER.bump(just, Bid(31 * GWEI)) == Insufficient(1)
    with_one_left = PLANNER.collect(PLAYERS_OWN, "ETH", BaseUnits(21_000 * 31 * GWEI + 1), BID)
    bumped = PLANNER.bump(with_one_left, Bid(31 * GWEI))
    assert isinstance(bumped, EthereumPlan) and bumped.transaction.value == 1


def test_a_replacement_of_collected_coins_is_scaled_too() -> None:
    bumped = SCALED.bump(SCALED.collect(PLAYERS_OWN, "ETH", BaseUnits(10_000_000), Bid(3)), Bid(4))
    assert isinstance(bumped, EthereumPlan)
    assert (bumped.transaction.value, SCALED.needs(bumped)) == (16_000, {(PLAYER, "ETH"): 10_000_000})


@given(
    st.lists(st.integers(1, 10**30), min_size=1, max_size=30),
    st.sampled_from(["ETH", "USDT", "USDC"]),
    st.integers(1, 10**12),
    st.integers(0, 2**63),
)
def test_whatever_is_paid_the_call_and_the_needs_agree(
    amounts: list[int], asset: str, rate: int, nonce: int
) -> None:
    scale = 10**12 if asset == "USDT" else 1
    people = [Recipient(bytes([n]) * 20, BaseUnits(amount * scale)) for n, amount in enumerate(amounts, 1)]
    plan = PLANNER.pay(replace(FROM, nonce=nonce), asset, people, Bid(rate))
    t, paid = plan.transaction, call_of(plan)
    if isinstance(paid, PayNative | PayTokens):
        assert (paid.recipients, paid.amounts) == (tuple(p.destination for p in people), tuple(amounts))
        assert t.value == (sum(amounts) if asset == "ETH" else 0)
    else:
        assert (t.to, t.value, len(people)) == (people[0].destination, amounts[0], 1)
    needs = dict(PLANNER.needs(plan))
    payer = FROM.account if asset == "ETH" else MINE
    assert needs.pop((payer, asset)) == sum(amounts) * scale + (plan.fee if asset == "ETH" else 0)
    assert needs == ({} if asset == "ETH" else {(FROM.account, "ETH"): plan.fee})
    assert plan.fee == t.gas * rate


@pytest.mark.parametrize(
    "change",
    [
        {"transaction": {}},
        {"account": "xx"},
        {"key_path": [44, 1]},
        {"authorized_by": [["xx", [44, 0, 0]]]},
        {"takes": [["00", "ETH", "1.5"]]},
    ],
)
def test_a_document_that_no_plan_wrote_is_a_value_error(change: dict[str, object]) -> None:
    document = msgspec.json.decode(EVERY_KIND["sweep"].to_json())
    with pytest.raises(ValueError):  # noqa: PT011 - whichever the document makes it
        PLANNER.read(msgspec.json.encode(document | change))
