"""P9: what the signer lets out to cold: to addresses that it derives itself, within an hour of its own."""

from dataclasses import replace

import pytest

from cryptowatch.chains.bitcoin.derive import Scheme, parse_extended_key
from cryptowatch.chains.bitcoin.transaction import TxOutput, UnsignedTransaction
from cryptowatch.chains.ethereum.our_calls import Approve, PayTokens, TransferToken, call_data
from cryptowatch.money import BaseUnits
from cryptowatch.signing import bitcoin
from cryptowatch.signing.account_policy import (
    AccountHistory,
    AccountLimits,
    AccountProposal,
    AccountSigning,
    AmountLimits,
    Charge,
    ColdAccounts,
)
from cryptowatch.signing.ethereum import as_text, proposal, request_keys
from cryptowatch.signing.keys import accounts_from_mnemonic, new_mnemonic
from cryptowatch.signing.messages import KeyPath
from cryptowatch.signing.policy import (
    HOUR_MS,
    ColdCoins,
    History,
    Limits,
    Proposal,
    Reason,
    Refusal,
    Signing,
)
from tests.support.account_wallet import (
    ACCOUNT_FACTS,
    ETHER,
    GWEI,
    OTHER,
    PAYOUTS,
    STRANGER,
    USDT,
    VAULT,
    WALLET,
    transaction,
)
from tests.support.wallet import build

COLD_WALLET = accounts_from_mnemonic(new_mnemonic(bytes(range(16))), "regtest")
KEY = parse_extended_key(COLD_WALLET.xpubs("regtest")["bip84"], "regtest", Scheme.BIP84)
COINS = Limits(
    transaction_amount_max=1_000,
    hourly_amount_max=1_500,
    hourly_signings_max=100,
    fee_max=100,
    fee_rate_max_sat_vb=50,
    inputs_max=10,
    outputs_max=10,
    cold=ColdCoins(KEY, 50_000),
)
COLD = b"\xc0" * 20


def coins(coin: str, *, cold: int = 0, pays: int = 0, fee: int = 10, lineage: str = "") -> Proposal:
    foreign = ((b"\x00\x14" + bytes(20), pays),) if pays else ()
    return Proposal(
        lineage or coin,
        {coin: 100_000},
        foreign,
        (100_000 - cold - pays - fee,),
        200,
        (cold,) if cold else (),
    )


def sign(history: History, proposed: Proposal, now_ms: int = 0) -> int | Reason:
    charge = history.judge(proposed, now_ms)
    if isinstance(charge, Refusal):
        return charge.reason
    cold = history.cold_charge(proposed)
    inputs = proposed.inputs
    history.record(
        Signing(
            "btc",
            now_ms,
            proposed.lineage_id,
            "",
            inputs,
            proposed.leaving,
            charge,
            proposed.cold_amount,
            cold,
        )
    )
    return charge


def test_cold_has_an_hour_of_its_own_and_takes_of_the_other_its_fee_only() -> None:
    history = History(COINS)
    assert sign(history, coins("a", cold=50_000)) == 10
    assert sign(history, coins("b", cold=1)) == Reason.HOURLY_LIMIT
    assert sign(history, coins("c", pays=990)) == 1_000
    assert sign(history, coins("d", cold=50_000), HOUR_MS) == 10


def test_an_hour_full_of_payments_leaves_no_fee_for_cold() -> None:
    history = History(COINS)
    sign(history, coins("a", pays=990))
    sign(history, coins("b", pays=490))
    assert sign(history, coins("c", cold=1)) == Reason.HOURLY_LIMIT


def test_a_replacement_that_pays_strangers_what_was_cold_is_charged_whole() -> None:
    history = History(COINS)
    sign(history, coins("a", cold=900))
    assert sign(history, coins("a", pays=900)) == 900
    assert sign(history, coins("b", pays=900)) == Reason.HOURLY_LIMIT


def test_a_bump_of_a_cold_transfer_costs_the_increase_of_its_fee() -> None:
    history = History(COINS)
    sign(history, coins("a", cold=50_000))
    assert sign(history, coins("a", cold=50_000, fee=25)) == 15


@pytest.mark.parametrize("limits", [replace(COINS, cold=None), replace(COINS, cold=ColdCoins(KEY, 10))])
def test_more_than_an_hour_takes_is_refused_for_good(limits: Limits) -> None:
    assert sign(History(limits), coins("a", cold=11)) == Reason.TRANSACTION_LIMIT


def test_only_what_the_signer_derives_is_cold() -> None:
    unsigned, _, change = build(pays=(60_000,), change=(30_000,))
    paths = {place: COLD_WALLET.key(KeyPath("bip84", 0, 7)).script for place in range(1)}
    outputs = [
        TxOutput(paths[n], output.amount) if n in paths and n not in change else output
        for n, output in enumerate(unsigned.outputs)
    ]
    [place] = [n for n, output in enumerate(outputs) if output.script == paths[0]]
    to_cold = UnsignedTransaction(unsigned.inputs, tuple(outputs))
    assert bitcoin.cold_outputs(to_cold, {place: 7}, COINS.cold) == frozenset({place})
    found = bitcoin.proposal(to_cold, "L", frozenset(change), frozenset({place}))
    assert (found.cold, found.foreign) == ((BaseUnits(60_000),), ())
    for claimed, cold in [({place: 8}, COINS.cold), ({9: 7}, COINS.cold), ({place: 7}, None)]:
        refused = bitcoin.cold_outputs(to_cold, claimed, cold)
        assert isinstance(refused, Refusal)
        assert refused.reason == Reason.FOREIGN_COLD
    refused = bitcoin.cold_outputs(unsigned, {place: 7}, COINS.cold)
    assert isinstance(refused, Refusal)


ACCOUNT_LIMITS = AccountLimits(
    assets={"ETH": AmountLimits(ETHER, ETHER), "USDT": AmountLimits(100, 100)},
    fee_max=ETHER,
    hourly_fee_max=ETHER,
    gas_price_max_wei=500 * GWEI,
    hourly_signings_max=100,
    batch_max=200,
    cold=ColdAccounts(frozenset({COLD}), {"ETH": 9 * ETHER}),
)


def accounts(cold: int = 0, pays: int = 0, nonce: int = 7, asset: str = "ETH") -> AccountProposal:
    return AccountProposal(
        lineage_id=f"L{nonce}",
        resource=f"vault:{nonce}",
        foreign=((STRANGER, asset, pays),) if pays else (),
        fee=1,
        gas_price_wei=1,
        batch=1,
        cold=((COLD, asset, cold),) if cold else (),
    )


def sign_account(history: AccountHistory, proposed: AccountProposal) -> dict[str, int] | Reason:
    charge = history.judge(proposed, 0)
    if not isinstance(charge, Charge):
        return charge.reason
    history.record(
        AccountSigning(
            "eth",
            0,
            proposed.lineage_id,
            "",
            proposed.resource,
            as_text(proposed.leaving()),
            "1",
            as_text(charge.amounts),
            str(charge.fee),
            as_text(proposed.going_cold()),
            as_text(charge.cold),
        )
    )
    return dict(charge.amounts) | dict(charge.cold)


def test_cold_accounts_have_an_hour_of_their_own_by_asset() -> None:
    history = AccountHistory(ACCOUNT_LIMITS)
    assert sign_account(history, accounts(cold=9 * ETHER)) == {"ETH": 9 * ETHER}
    assert sign_account(history, accounts(cold=9 * ETHER)) == {"ETH": 0}  # the same nonce again
    assert sign_account(history, accounts(cold=1, nonce=8)) == Reason.HOURLY_LIMIT
    assert sign_account(history, accounts(pays=ETHER, nonce=9)) == {"ETH": ETHER}
    assert sign_account(history, accounts(cold=9 * ETHER + 1, nonce=10)) == Reason.TRANSACTION_LIMIT
    assert sign_account(history, accounts(cold=1, nonce=11, asset="USDT")) == Reason.TRANSACTION_LIMIT


def test_what_was_cold_is_charged_whole_when_it_shall_go_to_a_stranger() -> None:
    history = AccountHistory(ACCOUNT_LIMITS)
    sign_account(history, accounts(cold=ETHER))
    assert sign_account(history, accounts(pays=ETHER)) == {"ETH": ETHER}
    assert sign_account(history, accounts(pays=1, nonce=8)) == Reason.HOURLY_LIMIT


@pytest.mark.parametrize(
    ("to", "data", "value", "cold", "foreign"),
    [
        (COLD, b"", 5, ((COLD, "ETH", 5),), ()),
        (OTHER, b"", 5, (), ((OTHER, "ETH", 5),)),
        (USDT, call_data(TransferToken(COLD, 5)), 0, ((COLD, "USDT", 5 * 10**12),), ()),
        # Through our contract it is that contract's word.
        (PAYOUTS, call_data(PayTokens(USDT, (COLD,), (5,))), 0, (), ((COLD, "USDT", 5 * 10**12),)),
    ],
)
def test_what_counts_as_cold_is_read_out_of_the_transaction(
    to: bytes,
    data: bytes,
    value: int,
    cold: tuple[tuple[bytes, str, int], ...],
    foreign: tuple[tuple[bytes, str, int], ...],
) -> None:
    t = transaction(to=to, data=data, value=value)
    keys = request_keys(t, VAULT, (), WALLET)
    assert not isinstance(keys, Refusal)
    found = proposal(t, keys, "L", WALLET, ACCOUNT_FACTS, frozenset({COLD}))
    assert isinstance(found, AccountProposal)
    assert (found.cold, found.foreign) == (cold, foreign)


@pytest.mark.parametrize(
    "data",
    [call_data(TransferToken(OTHER, 5)), call_data(Approve(COLD)), call_data(TransferToken(COLD, 5)) + b"\0"],
)
def test_a_token_goes_straight_to_nobody_but_cold(data: bytes) -> None:
    t = transaction(to=USDT, data=data, value=0)
    keys = request_keys(t, VAULT, (), WALLET)
    assert not isinstance(keys, Refusal)
    found = proposal(t, keys, "L", WALLET, ACCOUNT_FACTS, frozenset({COLD}))
    assert isinstance(found, Refusal)
    assert found.reason == Reason.DESTINATION_NOT_ALLOWED
