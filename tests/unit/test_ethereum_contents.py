"""What in a block is ours: deposits, balances' changes, fees, nonces used, and what became of each payment."""

from dataclasses import replace
from typing import Any

import pytest
from eth_utils.crypto import keccak

from cryptowatch.chains.ethereum.facts import ChainFacts, Token
from cryptowatch.chains.ethereum.rlp import MalformedData
from cryptowatch.chains.port import OWN_COIN_POSITION, BlockContents, Movement
from cryptowatch.chains.watchset import WatchList
from cryptowatch.devnet.ethereum.artifacts import contract
from tests.support.ethereum_blocks import (
    BASE_FEE,
    TIP,
    Sent,
    account,
    authorize,
    block_of,
    call,
    log,
    send,
    transfer_log,
)

PLAYER, OTHER_PLAYER, STRANGER = account("player"), account("other player"), account("stranger")
WALLET, SWEEPER, PAYOUTS = account("wallet"), account("sweeper contract"), account("payouts contract")
USDT, USDC, FAKE = account("usdt"), account("usdc"), account("fake token")
OWN = OWN_COIN_POSITION
PRICE = BASE_FEE + TIP
FEE = 21_000 * PRICE
FACTS = ChainFacts(
    chain_id=31337,
    asset="ETH",
    tokens={USDT: Token("USDT", 12), USDC: Token("USDC")},
    payouts=PAYOUTS,
    vault=WALLET,
    sweeper=SWEEPER,
    sweep_destination=WALLET,
)
TRACED = replace(FACTS, traces=True)
OURS = (PLAYER, OTHER_PLAYER, WALLET)


def contents(
    *sent: Sent, facts: ChainFacts = FACTS, ours: tuple[bytes, ...] = OURS, resources: tuple[bytes, ...] = ()
) -> BlockContents:
    return block_of(*sent).read(facts).contents(WatchList(ours, resources))


def transfers(found: BlockContents) -> list[tuple[int, bytes, str, int]]:
    return [(one.position, one.destination, one.asset, one.amount) for one in found.transfers]


def movements(found: BlockContents) -> set[tuple[bytes, str, int]]:
    assert found.movements is not None
    return {(one.account, one.asset, one.delta) for one in found.movements}


def swept(holder: bytes, amount: int) -> dict[str, Any]:
    return log(holder, [keccak(b"Swept(uint256)")], amount.to_bytes(32, "big"))


def failed(item: int, emitter: bytes = PAYOUTS) -> dict[str, Any]:
    return log(emitter, [keccak(b"Failed(uint256)")], item.to_bytes(32, "big"))


# --- tokens -------------------------------------------------------------------------------------------------


def test_a_listed_tokens_transfer_to_us_is_a_deposit_in_the_ledgers_units() -> None:
    sent = send("stranger", USDT, data=b"\x01", logs=[transfer_log(USDT, STRANGER, PLAYER, 5)])
    found = contents(sent)
    assert transfers(found) == [(0, PLAYER, "USDT", 5 * 10**12)]
    assert found.transfers[0].tx_hash == sent.hash
    assert movements(found) == {(PLAYER, "USDT", 5 * 10**12)}
    assert found.resources == {sent.hash: (STRANGER + bytes(8),)}


def test_its_position_is_the_logs_place_in_its_own_transaction() -> None:
    noise = log(FAKE, [keccak(b"Noise()")])
    logs = [noise, noise, transfer_log(USDC, STRANGER, PLAYER, 5), transfer_log(USDC, STRANGER, PLAYER, 6)]
    before = send("other", USDC, data=b"\x01", logs=[noise] * 7)
    found = contents(before, send("stranger", USDC, data=b"\x01", logs=logs))
    assert transfers(found) == [(2, PLAYER, "USDC", 5), (3, PLAYER, "USDC", 6)]


@pytest.mark.parametrize(
    "one",
    [
        transfer_log(FAKE, STRANGER, PLAYER, 5),
        transfer_log(USDC, STRANGER, account("nobody"), 5),
        transfer_log(USDC, STRANGER, PLAYER, 0),
        transfer_log(USDT, STRANGER, PLAYER, 2**256 - 1),
        # EIP-7708: what moves the chain's own coin looks like a token's transfer.
        transfer_log(b"\xff" * 19 + b"\xfe", STRANGER, PLAYER, 5),
        # ERC-721: the number is a fourth topic.
        log(
            USDC,
            [keccak(b"Transfer(address,address,uint256)"), bytes(32), PLAYER.rjust(32, b"\0"), bytes(32)],
        ),
        log(
            USDC,
            [keccak(b"Approval(address,address,uint256)"), bytes(32), PLAYER.rjust(32, b"\0")],
            bytes(32),
        ),
        log(
            USDC, [keccak(b"Transfer(address,address,uint256)"), bytes(32), PLAYER.rjust(32, b"\0")], b"\x05"
        ),
        log(USDC, [], b"\x05"),
    ],
    ids=[
        "unlisted",
        "not to us",
        "nothing",
        "beyond all",
        "EIP-7708",
        "a fourth topic",
        "approval",
        "short",
        "anonymous",
    ],
)
def test_whatever_else_looks_like_one_is_none(one: dict[str, Any]) -> None:
    found = contents(send("stranger", USDC, data=b"\x01", logs=[one]))
    assert (found.transfers, found.movements) == ((), ())


def test_between_two_of_ours_it_is_two_movements() -> None:
    found = contents(send("stranger", USDC, data=b"\x01", logs=[transfer_log(USDC, PLAYER, WALLET, 5)]))
    assert movements(found) == {(PLAYER, "USDC", -5), (WALLET, "USDC", 5)}


# --- the chain's own coin -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_a_transactions_value_to_us_is_a_deposit(kind: int) -> None:
    sent = send("stranger", PLAYER, 7, nonce=4, kind=kind)
    found = contents(sent)
    assert transfers(found) == [(OWN, PLAYER, "ETH", 7)]
    assert movements(found) == {(PLAYER, "ETH", 7)}
    assert found.resources == {sent.hash: (STRANGER + (4).to_bytes(8, "big"),)}


def test_its_units_are_scaled_too() -> None:
    found = contents(send("wallet", PLAYER, 7), facts=replace(FACTS, asset_scale=2))
    assert transfers(found) == [(OWN, PLAYER, "ETH", 700)]
    assert found.executions[0].fee == FEE * 100


@pytest.mark.parametrize("facts", [FACTS, TRACED])
def test_the_value_of_a_failed_transaction_moved_nothing(facts: ChainFacts) -> None:
    found = contents(send("stranger", PLAYER, 7, status=0), facts=facts)
    assert (found.transfers, found.movements) == ((), ())


def test_what_we_send_costs_its_value_and_its_fee() -> None:
    found = contents(send("wallet", STRANGER, 7))
    assert movements(found) == {(WALLET, "ETH", -FEE - 7)}
    assert [(one.fee, one.outcomes) for one in found.executions] == [(FEE, (OWN,))]


def test_a_failed_transaction_of_ours_costs_its_fee_alone() -> None:
    found = contents(send("wallet", STRANGER, 7, status=0))
    assert movements(found) == {(WALLET, "ETH", -FEE)}
    assert [(one.fee, one.outcomes) for one in found.executions] == [(FEE, (None,))]


def test_a_fee_goes_by_the_gas_that_the_receipts_commit_to_and_not_by_the_nodes_price() -> None:
    answers = block_of(send("other", STRANGER, gas_used=50_000), send("wallet", STRANGER, gas_used=33_333))
    answers.receipts[1] |= {"gasUsed": "0x1", "effectiveGasPrice": "0x1"}
    found = answers.read(FACTS).contents(WatchList(OURS))
    assert found.executions[0].fee == 33_333 * PRICE


def test_the_creation_of_a_contract_takes_its_value_from_us() -> None:
    found = contents(send("wallet", None, 7, b"\x00"))
    assert movements(found) == {(WALLET, "ETH", -FEE - 7)}


# --- traces -------------------------------------------------------------------------------------------------


def test_value_that_moves_within_a_transaction_is_seen_by_traces_only() -> None:
    inner = [call("CALL", FAKE, PLAYER, 3), call("CALL", FAKE, OTHER_PLAYER, 4)]
    sent = send("stranger", FAKE, 7, b"\x01", calls=inner)
    assert transfers(contents(sent)) == []
    assert transfers(contents(sent, facts=TRACED)) == [
        (OWN + 1, PLAYER, "ETH", 3),
        (OWN + 2, OTHER_PLAYER, "ETH", 4),
    ]


def test_with_traces_a_transactions_own_value_counts_once() -> None:
    found = contents(send("stranger", PLAYER, 7), facts=TRACED)
    assert transfers(found) == [(OWN, PLAYER, "ETH", 7)]
    assert movements(found) == {(PLAYER, "ETH", 7)}


def test_frames_are_numbered_in_the_order_of_entry_whatever_they_are() -> None:
    deep = call("STATICCALL", FAKE, STRANGER, 0, calls=[call("CALL", STRANGER, PLAYER, 1)])
    inner = [deep, call("CALL", FAKE, STRANGER, 0), call("CALL", FAKE, PLAYER, 2)]
    found = contents(send("stranger", FAKE, 7, b"\x01", calls=inner), facts=TRACED)
    assert transfers(found) == [(OWN + 2, PLAYER, "ETH", 1), (OWN + 4, PLAYER, "ETH", 2)]


def test_a_frame_that_failed_and_all_within_it_moved_nothing() -> None:
    undone = call(
        "CALL", FAKE, STRANGER, 1, error="execution reverted", calls=[call("CALL", STRANGER, PLAYER, 1)]
    )
    inner = [undone, call("CALL", FAKE, PLAYER, 2)]
    found = contents(send("stranger", FAKE, 7, b"\x01", calls=inner), facts=TRACED)
    assert transfers(found) == [(OWN + 3, PLAYER, "ETH", 2)]


@pytest.mark.parametrize(
    ("kind", "moves"),
    [
        ("CALL", True),
        ("SELFDESTRUCT", True),
        ("CREATE2", True),
        ("DELEGATECALL", False),
        ("CALLCODE", False),
        ("STATICCALL", False),
    ],
)
def test_only_frames_that_move_value_count(kind: str, moves: bool) -> None:
    found = contents(send("stranger", FAKE, 7, b"\x01", calls=[call(kind, FAKE, PLAYER, 3)]), facts=TRACED)
    assert bool(found.transfers) is moves


def test_value_out_of_our_account_within_a_transaction_is_a_movement() -> None:
    inner = [call("CALL", SWEEPER, PLAYER, 0, calls=[call("CALL", PLAYER, WALLET, 9)])]
    found = contents(
        send("stranger", SWEEPER, 0, b"\x01", calls=inner, logs=[swept(PLAYER, 9)]), facts=TRACED
    )
    assert movements(found) == {(PLAYER, "ETH", -9), (WALLET, "ETH", 9)}


def test_a_hidden_or_changed_trace_shows_against_another_node() -> None:
    def unproven(*inner: dict[str, Any]) -> bytes:
        return block_of(send("stranger", FAKE, 7, b"\x01", calls=inner)).read(TRACED).unproven

    honest = unproven(call("CALL", FAKE, PLAYER, 3))
    assert unproven(call("CALL", FAKE, PLAYER, 3)) == honest
    lies = [
        (),
        (call("CALL", FAKE, PLAYER, 4),),
        (call("CALL", FAKE, OTHER_PLAYER, 3),),
        (call("CALL", STRANGER, PLAYER, 3),),
        (call("CALL", FAKE, STRANGER, 0), call("CALL", FAKE, PLAYER, 3)),
        (call("CALL", FAKE, PLAYER, 3, error="out of gas"),),
    ]
    assert honest not in [unproven(*lie) for lie in lies]
    assert block_of(send("stranger", FAKE)).read(FACTS).unproven == b""


@pytest.mark.parametrize("lie", [{"value": "0x8"}, {"from": "0x" + "11" * 20}, {"error": "out of gas"}])
def test_a_trace_that_contradicts_the_block_is_found_at_once(lie: dict[str, str]) -> None:
    answers = block_of(send("stranger", PLAYER, 7))
    answers.traces[0]["result"] |= lie
    with pytest.raises(MalformedData, match="otherwise than its transaction"):
        answers.read(TRACED)


def test_a_failed_transaction_cannot_be_traced_as_a_success() -> None:
    answers = block_of(send("stranger", PLAYER, 7, status=0))
    del answers.traces[0]["result"]["error"]
    with pytest.raises(MalformedData, match="ends otherwise"):
        answers.read(TRACED)


def test_traces_of_other_transactions_are_found() -> None:
    answers = block_of(send("stranger", PLAYER, 7), send("stranger", PLAYER, 7, nonce=1))
    answers.traces.reverse()
    with pytest.raises(MalformedData, match="another transaction"):
        answers.read(TRACED)
    answers.traces.pop()
    with pytest.raises(MalformedData, match="another number"):
        answers.read(TRACED)


def test_a_thousand_frames_deep_is_not_too_deep() -> None:
    frame = call("CALL", FAKE, PLAYER, 3)
    for _ in range(1023):
        frame = call("CALL", FAKE, FAKE, 0, calls=[frame])
    found = contents(send("stranger", FAKE, 7, b"\x01", calls=[frame]), facts=TRACED)
    assert transfers(found) == [(OWN + 1024, PLAYER, "ETH", 3)]


# --- nonces -------------------------------------------------------------------------------------------------


def test_every_nonce_of_ours_that_was_used_is_told_by_whomever_it_was_asked() -> None:
    sent = send("wallet", STRANGER, 7, nonce=300)
    assert [(one.resource, one.tx_hash) for one in contents(sent).spends] == [
        (WALLET + (300).to_bytes(8, "big"), sent.hash)
    ]


def test_a_strangers_nonce_is_told_when_it_is_watched() -> None:
    watched = STRANGER + (4).to_bytes(8, "big")
    sent = send("stranger", STRANGER, 7, nonce=4)
    assert [one.resource for one in contents(sent, resources=(watched,)).spends] == [watched]
    assert contents(sent).spends == ()
    assert contents(send("stranger", STRANGER, 7, nonce=5), resources=(watched,)).spends == ()


def test_a_delegation_uses_up_its_signers_nonce() -> None:
    sent = send(
        "stranger", FAKE, kind=4, authorizations=[authorize("player", FAKE, 2), authorize("other", FAKE, 3)]
    )
    watched = account("other") + (3).to_bytes(8, "big")
    assert [one.resource for one in contents(sent).spends] == [PLAYER + (2).to_bytes(8, "big")]
    assert [one.resource for one in contents(sent, ours=(), resources=(watched,)).spends] == [watched]
    assert contents(sent, ours=()).spends == ()


@pytest.mark.parametrize(("carrier", "counts"), [("wallet", True), ("stranger", False)])
def test_a_delegation_to_our_own_delegate_counts_only_where_we_carry_it(carrier: str, counts: bool) -> None:
    facts = replace(FACTS, sweep_delegate=FAKE)
    sent = send(carrier, SWEEPER, kind=4, authorizations=[authorize("player", FAKE, 0)])
    used = [one.resource for one in contents(sent, facts=facts).spends]
    assert (PLAYER + bytes(8) in used) is counts


def test_a_nonce_is_used_once_however_often_it_is_signed_for() -> None:
    given = authorize("player", FAKE, 2)
    first = send("stranger", FAKE, kind=4, authorizations=[given, given])
    second = send("somebody", FAKE, kind=4, authorizations=[given])
    [used] = contents(first, second).spends
    assert (used.resource, used.tx_hash) == (PLAYER + (2).to_bytes(8, "big"), first.hash)


# --- payouts ------------------------------------------------------------------------------------------------


def pay_tokens(recipients: list[bytes], amounts: list[int], *logs: dict[str, Any], status: int = 1) -> Sent:
    data = contract("Payouts").call("payTokens", USDC, recipients, amounts)
    return send("wallet", PAYOUTS, 0, data, logs=logs, status=status)


def pay_native(
    recipients: list[bytes], amounts: list[int], *logs: dict[str, Any], status: int = 1, calls: Any = ()
) -> Sent:
    data = contract("Payouts").call("payNative", recipients, amounts)
    return send("wallet", PAYOUTS, sum(amounts), data, logs=logs, status=status, calls=calls)


def outcomes(sent: Sent, facts: ChainFacts = FACTS) -> tuple[int | None, ...]:
    (execution,) = contents(sent, facts=facts).executions
    assert execution.tx_hash == sent.hash
    return execution.outcomes


A, B, C = account("a"), account("b"), account("c")


def test_each_token_payment_has_the_place_of_its_own_log() -> None:
    logs = [
        transfer_log(USDC, WALLET, A, 1),
        transfer_log(USDC, WALLET, B, 2),
        transfer_log(USDC, WALLET, C, 3),
    ]
    assert outcomes(pay_tokens([A, B, C], [1, 2, 3], *logs)) == (0, 1, 2)


def test_a_token_payment_that_failed_has_none_and_the_others_go_on() -> None:
    logs = [transfer_log(USDC, WALLET, A, 1), failed(1), transfer_log(USDC, WALLET, C, 3)]
    sent = pay_tokens([A, B, C], [1, 2, 3], *logs)
    assert outcomes(sent) == (0, None, 2)
    assert movements(contents(sent)) == {(WALLET, "ETH", -FEE), (WALLET, "USDC", -4)}


def test_two_equal_payments_have_a_log_each() -> None:
    logs = [transfer_log(USDC, WALLET, A, 1), transfer_log(USDC, WALLET, A, 1)]
    assert outcomes(pay_tokens([A, A], [1, 1], *logs)) == (0, 1)
    assert outcomes(pay_tokens([A, A], [1, 1], failed(0), logs[0])) == (None, 1)
    assert outcomes(pay_tokens([A, A], [1, 1], logs[0], failed(1))) == (0, None)


@pytest.mark.parametrize(
    "other",
    [
        transfer_log(USDT, WALLET, A, 1),
        transfer_log(USDC, STRANGER, A, 1),
        transfer_log(USDC, WALLET, B, 1),
        failed(0, emitter=FAKE),
    ],
    ids=["another token's", "another payer's", "to another", "a failure said by another"],
)
def test_a_log_of_something_else_is_no_payment(other: dict[str, Any]) -> None:
    assert outcomes(pay_tokens([A], [1], other)) == (None,)


def test_a_failure_that_another_contract_tells_is_none() -> None:
    assert outcomes(pay_tokens([A], [1], failed(0, FAKE), transfer_log(USDC, WALLET, A, 1))) == (1,)


def test_a_token_that_keeps_a_fee_has_paid_all_the_same() -> None:
    """To call it a failure would be to pay again (P3)."""
    logs = [transfer_log(USDC, WALLET, A, 90), transfer_log(USDC, WALLET, account("issuer"), 10)]
    assert outcomes(pay_tokens([A, B], [100, 100], *logs, failed(1))) == (0, None)


def test_a_batch_that_failed_as_a_whole_paid_nobody() -> None:
    assert outcomes(pay_tokens([A, B], [1, 2], status=0)) == (None, None)
    assert outcomes(pay_native([A, B], [1, 2], status=0)) == (None, None)


@pytest.mark.parametrize("facts", [FACTS, TRACED])
def test_each_coin_payment_that_did_not_fail_has_a_place(facts: ChainFacts) -> None:
    assert outcomes(pay_native([A, B, C], [1, 2, 3], failed(1)), facts) == (OWN + 1, None, OWN + 3)


def test_coin_payments_cost_what_was_not_given_back() -> None:
    found = contents(pay_native([A, PLAYER, C], [1, 2, 3], failed(0)))
    assert transfers(found) == [(OWN + 2, PLAYER, "ETH", 2)]
    assert movements(found) == {(WALLET, "ETH", -FEE - 5), (PLAYER, "ETH", 2)}


def test_traces_tell_the_same_of_coin_payments() -> None:
    inner = [
        call("CALL", PAYOUTS, A, 1, error="execution reverted"),
        call("CALL", PAYOUTS, PLAYER, 2),
        call("CALL", PAYOUTS, C, 3),
        call("CALL", PAYOUTS, WALLET, 1),
    ]
    sent = pay_native([A, PLAYER, C], [1, 2, 3], failed(0), calls=inner)
    plain, traced = contents(sent), contents(sent, facts=TRACED)
    assert plain.transfers[0] in traced.transfers
    assert totals(plain.movements) == totals(traced.movements)


def totals(moved: tuple[Movement, ...] | None) -> dict[bytes, int]:
    sums: dict[bytes, int] = {}
    for one in moved or ():
        sums[one.account] = sums.get(one.account, 0) + one.delta
    return sums


@pytest.mark.parametrize(
    "data",
    [b"", b"\x12\x34\x56\x78", contract("Payouts").call("payTokens", USDC, [A], [1])[:-1], bytes(100)],
    ids=["none", "another function", "cut short", "zeros"],
)
def test_a_call_that_is_no_payment_has_no_outcomes(data: bytes) -> None:
    assert outcomes(send("wallet", PAYOUTS, 0, data)) == ()


def test_a_call_whose_arrays_reach_beyond_its_end_is_no_payment() -> None:
    data = bytearray(contract("Payouts").call("payNative", [A], [1]))
    data[4 + 2 * 32 + 31] = 200
    assert outcomes(send("wallet", PAYOUTS, 0, bytes(data))) == ()


def test_a_tokens_own_transfer_is_one_payment() -> None:
    data = contract("StandardToken").call("transfer", A, 5)
    paid = send("wallet", USDC, 0, data, logs=[transfer_log(USDC, WALLET, A, 5)])
    assert outcomes(paid) == (0,)
    assert outcomes(send("wallet", USDC, 0, data, status=0)) == (None,)
    assert outcomes(send("wallet", FAKE, 0, data, logs=[transfer_log(FAKE, WALLET, A, 5)])) == ()


@pytest.mark.parametrize(
    "sent", [send("wallet", WALLET), send("wallet", SWEEPER, 0, b"\x01"), send("wallet", None)]
)
def test_what_pays_nobody_has_no_outcomes(sent: Sent) -> None:
    assert outcomes(sent) == ()


def test_strangers_transactions_have_no_execution() -> None:
    assert contents(send("stranger", PLAYER, 7)).executions == ()


# --- sweeps -------------------------------------------------------------------------------------------------


def test_what_an_account_of_ours_says_it_swept_moved_to_the_wallet() -> None:
    sent = send("wallet", SWEEPER, 0, b"\x01", logs=[swept(PLAYER, 9), swept(OTHER_PLAYER, 8)])
    found = contents(sent)
    assert found.transfers == ()
    assert movements(found) == {(WALLET, "ETH", 17 - FEE), (PLAYER, "ETH", -9), (OTHER_PLAYER, "ETH", -8)}


def test_what_a_stranger_says_it_swept_is_not_believed() -> None:
    assert movements(contents(send("other", SWEEPER, 0, b"\x01", logs=[swept(STRANGER, 9)]))) == set()


def test_a_sweep_outside_of_our_sweepers_calls_is_not_believed() -> None:
    assert movements(contents(send("other", FAKE, 0, b"\x01", logs=[swept(PLAYER, 9)]))) == set()


def test_a_swept_token_is_its_own_transfer() -> None:
    found = contents(send("other", SWEEPER, 0, b"\x01", logs=[transfer_log(USDC, PLAYER, WALLET, 9)]))
    assert movements(found) == {(PLAYER, "USDC", -9), (WALLET, "USDC", 9)}


# --- the whole ----------------------------------------------------------------------------------------------


def test_what_goes_in_circles_is_no_movement() -> None:
    """And what an account of ours is named in more or less of the block changes no other's."""
    logs = [transfer_log(USDC, PLAYER, WALLET, 9), transfer_log(USDC, WALLET, PLAYER, 9)]
    sent = send("other", FAKE, 0, b"\x01", logs=logs)
    assert movements(contents(sent)) == set()
    assert movements(contents(sent, ours=(WALLET,))) == set()


def test_each_transaction_has_movements_of_its_own() -> None:
    found = contents(send("stranger", PLAYER, 1), send("stranger", PLAYER, 2, nonce=1))
    assert movements(found) == {(PLAYER, "ETH", 1), (PLAYER, "ETH", 2)}


def test_a_block_is_as_large_as_its_header_and_transactions() -> None:
    first, second = send("stranger", PLAYER, 1), send("stranger", PLAYER, 2, nonce=1)
    both = contents(first, second)
    assert both.transactions == 2
    assert both.size_bytes == contents(first).size_bytes + len(second.raw)


def test_an_empty_block_means_nothing() -> None:
    found = contents()
    assert (found.transfers, found.spends, found.movements, found.executions) == ((), (), (), ())
