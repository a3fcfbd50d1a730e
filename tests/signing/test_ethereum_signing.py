"""What the signer makes of an Ethereum transaction: each kind that we make, and what is refused beside it (P9)."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from eth_abi.abi import encode
from eth_account import Account
from eth_utils.crypto import keccak
from hypothesis import assume, given

from cryptowatch.chains.ethereum.our_calls import (
    OWN_COIN,
    Approve,
    Call,
    PayNative,
    PayTokens,
    Sweep,
    TransferToken,
    call_data,
    read_call,
)
from cryptowatch.chains.ethereum.recovery import is_signed_by
from cryptowatch.chains.ethereum.transaction import Authorization, UnsignedTransaction, to_json
from cryptowatch.signing.account_policy import AccountLimits, AccountProposal, AmountLimits
from cryptowatch.signing.ethereum import AccountFacts, proposal, request_keys
from cryptowatch.signing.log import LogTampered
from cryptowatch.signing.messages import KeyPath, Refused, Scheme, SignBitcoin, Signed, SignEthereum
from cryptowatch.signing.policy import Reason, Refusal
from cryptowatch.signing.service import AccountChain, SigningService
from tests.signing.test_server import SetClock
from tests.support.account_wallet import (
    ACCOUNT_FACTS,
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
    WALLET,
    WITHOUT_DELEGATION,
    account,
    transaction,
)

PLAYERS = tuple(account(path) for path in DEPOSITS)
OURS = Authorization(DELEGATE)
LIMITS = AccountLimits(
    assets={"ETH": AmountLimits(10 * ETHER, 15 * ETHER), "USDT": AmountLimits(10**21, 10**22)},
    fee_max=ETHER // 10,
    hourly_fee_max=ETHER,
    gas_price_max_wei=500 * GWEI,
    hourly_signings_max=100,
    batch_max=200,
)


def call(to: bytes, what: Call, value: int = 0, **more: Any) -> UnsignedTransaction:
    return transaction(to=to, value=value, data=call_data(what), **more)


def raw_call(
    to: bytes, signature: str, kinds: list[str], *values: Any, value: int = 0
) -> UnsignedTransaction:
    return transaction(to=to, value=value, data=keccak(text=signature)[:4] + encode(kinds, values))


def judged(
    t: UnsignedTransaction,
    path: KeyPath = VAULT,
    authorized_by: tuple[KeyPath, ...] = (),
    facts: AccountFacts = ACCOUNT_FACTS,
) -> AccountProposal | Refusal:
    keys = request_keys(t, path, authorized_by, WALLET)
    return keys if isinstance(keys, Refusal) else proposal(t, keys, "L", WALLET, facts)


def accepted(*args: Any, **named: Any) -> AccountProposal:
    found = judged(*args, **named)
    assert isinstance(found, AccountProposal), found
    return found


def reason(*args: Any, **named: Any) -> Reason:
    found = judged(*args, **named)
    assert isinstance(found, Refusal), "this was accepted"
    return found.reason


SWEEP = call(SWEEPER, Sweep(USDT, PLAYERS))


# --- what sending accounts do -------------------------------------------------------------------------------


def test_a_payment_counts_with_its_amount_its_nonce_and_the_most_that_it_can_cost() -> None:
    assert accepted(transaction()) == AccountProposal(
        lineage_id="L",
        resource=f"{account(VAULT).hex()}:7",
        foreign=((STRANGER, "ETH", ETHER),),
        fee=3_000_000 * GWEI,
        gas_price_wei=30 * GWEI,
        batch=1,
    )


@given(st.integers(1, 2**256 - 1), st.binary(min_size=20, max_size=20))
def test_coins_to_whomever_else_are_charged_to_the_last_wei(value: int, to: bytes) -> None:
    assume(to not in (account(VAULT), account(SENDER)))
    assert accepted(transaction(to=to, value=value)).leaving() == {"ETH": value}


def test_amounts_are_counted_in_the_ledgers_units() -> None:
    scaled = replace(ACCOUNT_FACTS, chain=replace(FACTS, asset_scale=2))
    found = accepted(transaction(value=5), facts=scaled)
    assert (found.foreign, found.fee) == (((STRANGER, "ETH", 500),), 300_000_000 * GWEI)
    batch = accepted(call(PAYOUTS, PayNative((STRANGER, OTHER), (2, 3)), value=5), facts=scaled)
    assert batch.foreign == ((STRANGER, "ETH", 200), (OTHER, "ETH", 300))
    tokens = accepted(call(PAYOUTS, PayTokens(USDT, (STRANGER,), (7,))))
    assert tokens.foreign == ((STRANGER, "USDT", 7 * 10**12),)


def test_a_refill_of_an_account_that_sends_stays_within_the_wallet() -> None:
    assert accepted(transaction(to=account(SENDER))).foreign == ()
    assert accepted(transaction(to=account(VAULT)), SENDER).foreign == ()


@pytest.mark.parametrize(
    "to", [PLAYERS[0], account(KeyPath("bip44", 1, 2))], ids=["a player's", "beyond the accounts that send"]
)
def test_coins_to_any_other_account_of_ours_are_charged_as_paid_away(to: bytes) -> None:
    """A player's deposit address is credited: a refill of it would be money for the player."""
    assert accepted(transaction(to=to)).foreign == ((to, "ETH", ETHER),)


@pytest.mark.parametrize(
    "t",
    [
        call(PAYOUTS, PayNative((account(SENDER),), (ETHER,)), value=ETHER),
        call(PAYOUTS, PayTokens(USDC, (account(SENDER), account(VAULT)), (5, 6))),
    ],
)
def test_what_goes_through_the_contract_is_charged_even_to_ourselves(t: UnsignedTransaction) -> None:
    """That it arrives is the contract's word: with a wrong one in the settings, the vault could be emptied so."""
    assert accepted(t).foreign


def test_a_sweep_with_its_authorizations_pays_nobody_and_counts_every_account() -> None:
    authorized = replace(SWEEP, authorizations=(OURS, OURS))
    found = accepted(authorized, SENDER, (DEPOSITS[1], DEPOSITS[3]))
    assert (found.foreign, found.batch) == ((), 4)
    assert accepted(call(SWEEPER, Sweep(OWN_COIN, PLAYERS))).batch == 4


def test_an_allowance_of_a_listed_token_for_the_payouts_contract_and_a_void_pay_nobody() -> None:
    assert accepted(call(USDT, Approve(PAYOUTS))).foreign == ()
    assert accepted(transaction(to=account(SENDER), value=0), SENDER).foreign == ()


@pytest.mark.parametrize(
    "t",
    {
        "a token that is not listed": call(PAYOUTS, PayTokens(OTHER, (STRANGER,), (1,))),
        "the coin as if it were a token": call(PAYOUTS, PayTokens(OWN_COIN, (STRANGER,), (1,))),
        "tokens by another contract": call(OTHER, PayTokens(USDT, (STRANGER,), (1,))),
        "tokens by the sweeper": call(SWEEPER, PayTokens(USDT, (STRANGER,), (1,))),
        "tokens together with coins": call(PAYOUTS, PayTokens(USDT, (STRANGER,), (1,)), value=1),
        "more recipients than amounts": call(PAYOUTS, PayTokens(USDT, (STRANGER, OTHER), (1,))),
        "nobody": call(PAYOUTS, PayTokens(USDT, (), ())),
        "coins by another contract": call(OTHER, PayNative((STRANGER,), (1,)), value=1),
        "coins to an account of ours with a call": call(
            account(SENDER), PayNative((STRANGER,), (1,)), value=1
        ),
        "more coins than are paid": call(PAYOUTS, PayNative((STRANGER,), (1,)), value=2),
        "fewer coins than are paid": call(PAYOUTS, PayNative((STRANGER,), (2,)), value=1),
        "more amounts than recipients": call(PAYOUTS, PayNative((STRANGER,), (1, 2)), value=3),
        "coins to nobody": call(PAYOUTS, PayNative((), ())),
        "a sweep of a token that is not listed": call(SWEEPER, Sweep(OTHER, PLAYERS)),
        "a sweep by another contract": call(PAYOUTS, Sweep(USDT, PLAYERS)),
        "a sweep with coins": call(SWEEPER, Sweep(USDT, PLAYERS), value=1),
        "an allowance for another spender": call(USDT, Approve(STRANGER)),
        "an allowance for the sweeper": call(USDT, Approve(SWEEPER)),
        "an allowance of a token that is not listed": call(OTHER, Approve(PAYOUTS)),
        "an allowance with coins": call(USDT, Approve(PAYOUTS), value=1),
        "a limited allowance": raw_call(USDT, "approve(address,uint256)", ["address", "uint256"], PAYOUTS, 5),
        "a transfer of the vault's tokens": call(USDT, TransferToken(STRANGER, 1)),
        "a transfer of its tokens to itself": call(USDT, TransferToken(account(VAULT), 1)),
        "a transfer from somebody": raw_call(
            USDT,
            "transferFrom(address,address,uint256)",
            ["address", "address", "uint256"],
            account(VAULT),
            STRANGER,
            1,
        ),
        "a permission": raw_call(
            USDT, "increaseAllowance(address,uint256)", ["address", "uint256"], STRANGER, 1
        ),
        "a call of a delegate's own": raw_call(PLAYERS[0], "sweep(address)", ["address"], USDT),
        "a call with a selector alone": transaction(
            to=PAYOUTS, value=0, data=call_data(Approve(PAYOUTS))[:4]
        ),
        "data that is no call": transaction(data=b"\0"),
        "nothing to a stranger": transaction(value=0),
        "nothing to another account of ours": transaction(to=account(SENDER), value=0),
    }.items(),
    ids=lambda pair: pair[0],
)
def test_whatever_is_no_kind_of_ours_is_refused(t: tuple[str, UnsignedTransaction]) -> None:
    assert reason(t[1]) is Reason.DESTINATION_NOT_ALLOWED


VALID_CALLS: list[tuple[bytes, Call, int]] = [
    (PAYOUTS, PayTokens(USDT, (STRANGER, OTHER), (1, 2)), 0),
    (PAYOUTS, PayNative((STRANGER, OTHER), (1, 2)), 3),
    (SWEEPER, Sweep(USDT, PLAYERS), 0),
    (USDT, Approve(PAYOUTS), 0),
]


@pytest.mark.parametrize(("to", "what", "value"), VALID_CALLS)
def test_bytes_after_a_valid_call_are_refused(to: bytes, what: Call, value: int) -> None:
    accepted(call(to, what, value))
    for extra in (b"\0", bytes(32)):
        t = transaction(to=to, value=value, data=call_data(what) + extra)
        assert reason(t) is Reason.DESTINATION_NOT_ALLOWED


@given(st.sampled_from(VALID_CALLS), st.data())
def test_a_call_that_reads_otherwise_than_we_write_is_none(
    case: tuple[bytes, Call, int], data: st.DataObject
) -> None:
    """Another offset or padding may mean the same to the contract, or something else: it is never looked into."""
    written = bytearray(call_data(case[1]))
    place = data.draw(st.integers(0, len(written) - 1))
    written[place] ^= data.draw(st.integers(1, 255))
    read = read_call(bytes(written))
    assert read != case[1]
    assert read is None or call_data(read) == bytes(written)


@given(st.sampled_from([call_data(what)[:4] for _, what, _ in VALID_CALLS]), st.binary(max_size=400))
def test_no_data_is_more_than_the_reader_can_take(selector: bytes, rest: bytes) -> None:
    read = read_call(selector + rest)
    assert read is None or call_data(read) == selector + rest


@pytest.mark.parametrize("words", [[2**256 - 1] * 9, [64, 64, 2**255] + [0] * 6, [32, 0, 2**32], [64, 96, 0]])
def test_arrays_that_reach_beyond_the_data_are_no_call(words: list[int]) -> None:
    for _, what, _ in VALID_CALLS:
        assert read_call(call_data(what)[:4] + b"".join(word.to_bytes(32, "big") for word in words)) is None


def test_another_chains_transaction_is_refused() -> None:
    for chain_id in (0, 1):
        assert reason(transaction(chain_id=chain_id)) is Reason.UNKNOWN_CHAIN


@pytest.mark.parametrize(
    "what", [PayTokens(USDT, (STRANGER,), (1,)), Sweep(USDT, PLAYERS), Approve(OWN_COIN)]
)
def test_without_contracts_nothing_goes_through_any(what: Call) -> None:
    none = replace(ACCOUNT_FACTS, chain=replace(FACTS, payouts=None, sweeper=None), delegate=None)
    for to in (PAYOUTS, SWEEPER, OWN_COIN, USDT):
        assert reason(call(to, what), facts=none) is Reason.DESTINATION_NOT_ALLOWED


# --- authorizations -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_", "paths"),
    {
        "another delegate": ((Authorization(OTHER),), (DEPOSITS[0],)),
        "one of two for another delegate": ((OURS, Authorization(OTHER)), (DEPOSITS[0], DEPOSITS[1])),
        "no delegate any more": ((Authorization(bytes(20)),), (DEPOSITS[0],)),
        "a later nonce": ((Authorization(DELEGATE, 1),), (DEPOSITS[0],)),
        "an account that is not swept": ((OURS,), (KeyPath("bip44", 0, 9),)),
        "one account twice": ((OURS, OURS), (DEPOSITS[0], DEPOSITS[0])),
    }.values(),
)
def test_an_authorization_for_anything_else_is_refused(
    given_: tuple[Authorization, ...], paths: tuple[KeyPath, ...]
) -> None:
    assert reason(replace(SWEEP, authorizations=given_), VAULT, paths) is Reason.DESTINATION_NOT_ALLOWED


@pytest.mark.parametrize("facts", [WITHOUT_DELEGATION, replace(ACCOUNT_FACTS, delegate=OTHER)])
def test_only_the_delegate_of_the_signers_own_settings_counts(facts: AccountFacts) -> None:
    t = replace(SWEEP, authorizations=(OURS,))
    assert reason(t, VAULT, (DEPOSITS[0],), facts) is Reason.DESTINATION_NOT_ALLOWED


@pytest.mark.parametrize(
    "t",
    [
        transaction(),
        transaction(to=account(VAULT), value=0),
        call(PAYOUTS, PayTokens(USDT, (PLAYERS[0],), (1,))),
        call(USDT, Approve(PAYOUTS)),
    ],
)
def test_an_authorization_comes_with_a_sweep_only(t: UnsignedTransaction) -> None:
    assert reason(replace(t, authorizations=(OURS,)), VAULT, (DEPOSITS[0],)) is Reason.DESTINATION_NOT_ALLOWED


@pytest.mark.parametrize("path", [VAULT, SENDER, KeyPath("bip44", 1, 9)])
def test_no_account_but_a_deposit_account_delegates(path: KeyPath) -> None:
    """Code in an account that sends would let the delegate's caller move what it holds."""
    swept = call(SWEEPER, Sweep(USDT, (account(path),)), authorizations=(OURS,))
    assert reason(swept, SENDER, (path,)) is Reason.FOREIGN_INPUT


@pytest.mark.parametrize("scheme", ["bip84", "bip86"])
def test_a_bitcoin_key_authorizes_nothing(scheme: Scheme) -> None:
    assert (
        reason(replace(SWEEP, authorizations=(OURS,)), SENDER, (KeyPath(scheme, 0, 0),))
        is Reason.FOREIGN_INPUT
    )


def test_as_many_keys_as_authorizations_must_be_named() -> None:
    for paths in ((), (DEPOSITS[0], DEPOSITS[1])):
        assert reason(replace(SWEEP, authorizations=(OURS,)), VAULT, paths) is Reason.MALFORMED
    assert reason(SWEEP, VAULT, (DEPOSITS[0],)) is Reason.MALFORMED


# --- who sends ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", [KeyPath("bip44", 1, 2), KeyPath("bip84", 1, 0), KeyPath("bip86", 1, 0), KeyPath("bip84", 0, 0)]
)
def test_a_key_that_is_no_sending_account_signs_nothing(path: KeyPath) -> None:
    assert reason(transaction(), path) is Reason.FOREIGN_INPUT


COLLECTED = {
    "coins": transaction(to=account(VAULT)),
    "a token": call(USDT, TransferToken(account(VAULT), 5)),
    "a void": transaction(to=PLAYERS[0], value=0),
}


@pytest.mark.parametrize("t", COLLECTED.values(), ids=COLLECTED)
def test_a_deposit_account_gives_to_the_vault_or_uses_up_a_nonce(t: UnsignedTransaction) -> None:
    assert accepted(t, DEPOSITS[0], facts=WITHOUT_DELEGATION).foreign == ()


@pytest.mark.parametrize("t", COLLECTED.values(), ids=COLLECTED)
def test_where_there_is_delegation_it_sends_nothing(t: UnsignedTransaction) -> None:
    """Its first nonce would be gone, and with it every authorization that we can make for it."""
    assert reason(t, DEPOSITS[0]) is Reason.DESTINATION_NOT_ALLOWED


@pytest.mark.parametrize(
    "t",
    {
        "coins to a stranger": transaction(),
        "coins to a player": transaction(to=PLAYERS[1]),
        "coins to another account that sends": transaction(to=account(SENDER)),
        "coins with data": transaction(to=account(VAULT), data=b"\0"),
        "coins to itself": transaction(to=PLAYERS[0]),
        "a token to a stranger": call(USDT, TransferToken(STRANGER, 5)),
        "a token to another account that sends": call(USDT, TransferToken(account(SENDER), 5)),
        "a token that is not listed": call(OTHER, TransferToken(account(VAULT), 5)),
        "a token with coins": call(USDT, TransferToken(account(VAULT), 5), value=1),
        "an allowance": call(USDT, Approve(PAYOUTS)),
        "payments": call(PAYOUTS, PayTokens(USDT, (account(VAULT),), (1,))),
        "a sweep": SWEEP,
        "nothing to a stranger": transaction(value=0),
    }.items(),
    ids=lambda pair: pair[0],
)
def test_a_deposit_account_sends_nothing_else(t: tuple[str, UnsignedTransaction]) -> None:
    assert reason(t[1], DEPOSITS[0], facts=WITHOUT_DELEGATION) is Reason.DESTINATION_NOT_ALLOWED


def test_a_deposit_account_sends_no_authorizations() -> None:
    t = replace(transaction(to=account(VAULT)), authorizations=(OURS,))
    for facts in (ACCOUNT_FACTS, WITHOUT_DELEGATION):
        assert reason(t, DEPOSITS[0], (DEPOSITS[1],), facts) is Reason.DESTINATION_NOT_ALLOWED


# --- the whole service --------------------------------------------------------------------------------------


def service(folder: Path, limits: AccountLimits = LIMITS, clock: SetClock | None = None) -> SigningService:
    chain = AccountChain(WALLET, limits, ACCOUNT_FACTS)
    return SigningService({"ethereum": chain}, folder / "log", clock or SetClock())


def request(
    t: UnsignedTransaction, path: KeyPath = VAULT, *authorized_by: KeyPath, lineage: str = "L"
) -> SignEthereum:
    return SignEthereum(
        chain="ethereum",
        lineage_id=lineage,
        transaction=to_json(t),
        key_path=path,
        authorized_by=list(authorized_by),
    )


def signed(running: SigningService, *args: Any, **named: Any) -> bytes:
    answer = running.sign(request(*args, **named))
    assert isinstance(answer, Signed), answer
    return bytes.fromhex(answer.raw_hex)


def refused(running: SigningService, *args: Any, **named: Any) -> str:
    answer = running.sign(request(*args, **named))
    assert isinstance(answer, Refused)
    return answer.reason


def test_what_comes_back_is_signed_by_the_account_and_by_whoever_authorizes(tmp_path: Path) -> None:
    running = service(tmp_path)
    raw = signed(running, transaction())
    assert Account.recover_transaction(raw).lower() == "0x" + account(VAULT).hex()
    sweep = replace(SWEEP, authorizations=(OURS, OURS))
    raw = signed(running, sweep, SENDER, DEPOSITS[2], DEPOSITS[0], lineage="M")
    assert is_signed_by(raw, sweep, account(SENDER), [PLAYERS[2], PLAYERS[0]])


def test_asking_again_gives_the_same_bytes_and_is_charged_once(tmp_path: Path) -> None:
    """P3."""
    running = service(tmp_path)
    assert signed(running, transaction()) == signed(running, transaction())
    assert running.status().hourly_amounts == {"ethereum": {"ETH": str(ETHER)}}


def test_a_restart_forgets_neither_the_hour_nor_the_lineages(tmp_path: Path) -> None:
    """P9: else a thief of the daemon would only have to make the signer crash."""
    running = service(tmp_path)
    first = signed(running, transaction(value=10 * ETHER))
    running.close()
    running = service(tmp_path)
    assert refused(running, transaction(value=6 * ETHER, nonce=8), lineage="M") == Reason.HOURLY_LIMIT
    assert refused(running, transaction(nonce=8)) == Reason.LINEAGE_CONFLICT
    assert signed(running, transaction(value=10 * ETHER)) == first
    assert running.status().hourly_amounts == {"ethereum": {"ETH": str(10 * ETHER)}}


def test_a_changed_line_of_the_log_stops_the_signer(tmp_path: Path) -> None:
    running = service(tmp_path)
    signed(running, transaction(value=10 * ETHER))
    running.close()
    log = tmp_path / "log"
    log.write_bytes(log.read_bytes().replace(str(10 * ETHER).encode(), str(1 * ETHER).encode()))
    with pytest.raises(LogTampered):
        service(tmp_path)


def test_what_is_refused_leaves_no_trace_in_the_log(tmp_path: Path) -> None:
    running = service(tmp_path)
    for t, why in [
        (transaction(value=11 * ETHER), Reason.TRANSACTION_LIMIT),
        (transaction(value=0), Reason.DESTINATION_NOT_ALLOWED),
        (transaction(chain_id=1), Reason.UNKNOWN_CHAIN),
    ]:
        assert refused(running, t) == why
    assert running.status().log_entries == 0
    assert signed(running, transaction())


@pytest.mark.parametrize(
    "change",
    [
        {"to": None},
        {"to": "0x" + "11" * 19},
        {"value": "1"},
        {"nonce": -1},
        {"accessList": []},
        {"data": "0x1"},
    ],
)
def test_a_document_that_is_no_transaction_is_malformed(tmp_path: Path, change: dict[str, object]) -> None:
    running = service(tmp_path)
    wrong = replace_transaction(request(transaction()), change)
    answer = running.sign(wrong)
    assert isinstance(answer, Refused) and answer.reason == Reason.MALFORMED


def replace_transaction(asked: SignEthereum, change: dict[str, object]) -> SignEthereum:
    return SignEthereum(
        chain=asked.chain,
        lineage_id=asked.lineage_id,
        transaction=asked.transaction | change,
        key_path=asked.key_path,
        authorized_by=asked.authorized_by,
    )


def test_a_chain_is_asked_in_its_own_familys_way_only(tmp_path: Path) -> None:
    answer = service(tmp_path).sign(
        SignBitcoin(chain="ethereum", lineage_id="L", transaction={}, input_paths=[], change_paths={})
    )
    assert isinstance(answer, Refused) and answer.reason == Reason.UNKNOWN_CHAIN
