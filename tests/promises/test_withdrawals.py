"""Withdrawals on real nodes: who is paid, who is refused, what is held meanwhile, and what it cost."""

import secrets
from typing import Any

import pytest

from cryptowatch.api.keys import Scope
from cryptowatch.chains.bitcoin.address import address_of
from cryptowatch.ledger.rules import Balance
from cryptowatch.signing.keys import accounts_from_mnemonic, new_mnemonic
from cryptowatch.signing.messages import KeyPath
from tests.promises.conftest import MakeSite
from tests.support.books import assert_balanced, house_balance, paid_to
from tests.support.running import CHAIN, FINAL, WITHDRAWAL_FEE, Site, sat, strangers_address

TEN_AT_ONCE = {"chains": {"bitcoin": {"batching": {"count_max": 10, "wait_max_s": 3600}}}}


def signer_limits(**limits: str) -> dict[str, Any]:
    return {"signer": {"policy": {"bitcoin": limits}}}


async def transactions(site: Site) -> int:
    return int(await site.pool.fetchval("SELECT count(*) FROM lineage"))


async def test_ten_withdrawals_leave_in_one_transaction_and_each_arrives_to_the_satoshi(
    make_site: MakeSite,
) -> None:
    site = await make_site(**TEN_AT_ONCE)
    await site.start()
    player = await site.rich_player("0.5", "0.6")
    wanted = {strangers_address(): 1_000_000 + number for number in range(10)}
    asked = [await player.withdraw(amount, address) for address, amount in list(wanted.items())[:9]]
    await site.polled(5)
    assert await transactions(site) == 0
    last = list(wanted)[-1]
    asked.append(await player.withdraw(wanted[last], last))
    tx_hash = await site.sent(asked[-1])
    await site.mine()
    confirmed = [await site.reaches(withdrawal, "confirmed") for withdrawal in asked]
    assert {found["tx_hash"] for found in confirmed} == {tx_hash}
    assert len({found["position"] for found in confirmed}) == 10
    held = sum(wanted.values()) + 10 * WITHDRAWAL_FEE
    assert await player.balance() == Balance(total=sat("1.1"), held=held)

    await site.mine(FINAL - 1)
    for withdrawal in asked:
        await site.reaches(withdrawal, "finalized")
        assert await site.story(withdrawal) == ["requested", "queued", "sending", "confirmed", "finalized"]
    assert await player.balance() == Balance(total=sat("1.1") - held)
    for address, amount in wanted.items():
        assert await paid_to(site, address) == [amount]
    entry = await site.net.bitcoin[0].rpc("getrawtransaction", tx_hash, 2)
    assert await house_balance(site, "fee_income") == 10 * WITHDRAWAL_FEE
    assert await house_balance(site, f"network_fees:{CHAIN}") == -int(entry["fee"] * 10**8)
    await assert_balanced(site)


async def test_p10_a_batch_takes_no_more_than_its_bound(make_site: MakeSite) -> None:
    site = await make_site(**TEN_AT_ONCE)
    await site.start()
    player = await site.rich_player("1")
    asked = [await player.withdraw(100_000, strangers_address()) for _ in range(11)]
    await site.sent(asked[0])
    await site.polled(5)
    states = [(await site.withdrawal(withdrawal))["state"] for withdrawal in asked]
    assert sorted(states) == ["queued", *["sending"] * 10]


async def test_p10_no_more_transactions_are_under_way_than_its_bound(make_site: MakeSite) -> None:
    site = await make_site(chains={"bitcoin": {"batching": {"wait_max_s": 0, "in_flight_max": 2}}})
    await site.start()
    player = await site.rich_player(*["0.1"] * 6)
    sent = []
    for _ in range(2):
        sent.append(await player.withdraw(sat("0.05"), strangers_address()))
        await site.sent(sent[-1])
    waiting = await player.withdraw(sat("0.05"), strangers_address())
    await site.polled(5)
    assert await transactions(site) == 2
    await site.mine()
    await site.sent(waiting)
    await site.mine_until_final([*sent, waiting])
    await assert_balanced(site)


async def test_an_urgent_withdrawal_does_not_wait_for_a_full_batch_and_takes_others_along(
    make_site: MakeSite,
) -> None:
    site = await make_site(**TEN_AT_ONCE)
    await site.start()
    player = await site.rich_player("1")
    patient = await player.withdraw(100_000, strangers_address())
    await site.polled(5)
    assert (await site.withdrawal(patient))["state"] == "queued"
    urgent = await player.withdraw(100_000, strangers_address(), priority="urgent")
    assert await site.sent(patient) == await site.sent(urgent)


async def test_every_kind_of_address_is_paid(make_site: MakeSite) -> None:
    site = await make_site(chains={"bitcoin": {"batching": {"count_max": 5, "wait_max_s": 3600}}})
    await site.start()
    player = await site.rich_player("1")
    hash20, hash32 = secrets.token_bytes(20), secrets.token_bytes(32)
    keys = accounts_from_mnemonic(new_mnemonic(secrets.token_bytes(16)), "regtest")
    scripts = [b"\x00\x14" + hash20, b"\x00\x20" + hash32, b"\xa9\x14" + hash20 + b"\x87"]
    scripts += [b"\x76\xa9\x14" + hash20 + b"\x88\xac", keys.key(KeyPath("bip86", 0, 0)).script]
    addresses = [address_of(script, "regtest") or "" for script in scripts]
    asked = [await player.withdraw(20_000, address) for address in addresses]
    await site.finished(*asked)
    for address in addresses:
        assert await paid_to(site, address) == [20_000]
    await assert_balanced(site)


async def test_what_must_be_refused_is_refused_and_holds_nothing(site: Site) -> None:
    player = await site.rich_player("0.1")
    good = strangers_address()
    cases = {
        ("0.1", good): "insufficient_withdrawable",
        ("0.00009999", good): "amount_below_minimum",
        ("10.00000001", good): "limit_exceeded",
        ("0.01", good[:-1] + ("q" if good[-1] != "q" else "p")): "invalid_address",
        ("0.01", "nonsense"): "invalid_address",
        ("0.01", address_of(b"\x00\x14" + bytes(20), "main") or ""): "network_mismatch",
        ("0.01", address_of(b"\x00\x14" + bytes(20), "testnet") or ""): "network_mismatch",
        ("0.01", address_of(b"\x76\xa9\x14" + bytes(20) + b"\x88\xac", "main") or ""): "network_mismatch",
    }
    for (amount, address), code in cases.items():
        refused = await player.ask_withdrawal(sat(amount), address)
        assert (refused.status, refused.code) == (422, code), (amount, address)
    assert await player.balance() == Balance(total=sat("0.1"))
    whole = sat("0.1") - WITHDRAWAL_FEE
    assert (await player.ask_withdrawal(whole + 1, good)).code == "insufficient_withdrawable"
    assert (await player.ask_withdrawal(whole, good)).status == 202
    assert (await player.balance()).withdrawable == 0


async def test_p2_the_same_request_again_is_the_same_withdrawal(site: Site) -> None:
    player = await site.rich_player("1")
    address, key = strangers_address(), secrets.token_hex(8)
    first = await player.ask_withdrawal(100_000, address, idempotency_key=key)
    again = await player.ask_withdrawal(100_000, address, idempotency_key=key)
    other = await player.ask_withdrawal(100_001, address, idempotency_key=key)
    assert (again.status, again.body) == (first.status, first.body)
    assert (other.status, other.code) == (422, "idempotency_key_reused")
    await site.finished(first.body["id"])
    assert await paid_to(site, address) == [100_000]
    await assert_balanced(site)


async def test_a_queued_withdrawal_can_be_canceled_and_gives_its_hold_back(make_site: MakeSite) -> None:
    site = await make_site(**TEN_AT_ONCE)
    await site.start()
    player, address = await site.rich_player("0.5"), strangers_address()
    withdrawal = await player.withdraw(sat("0.3"), address)
    assert (await player.balance()).withdrawable == sat("0.2") - WITHDRAWAL_FEE
    canceled = await site.backend.post(f"/v1/withdrawals/{withdrawal}/cancel")
    assert (canceled.status, canceled.body["state"]) == (200, "canceled")
    assert await player.balance() == Balance(total=sat("0.5"))
    await player.withdraw(sat("0.1"), strangers_address(), priority="urgent")
    await site.polled(3)
    await site.mine(FINAL)
    assert await paid_to(site, address) == []
    assert await site.story(withdrawal) == ["requested", "queued", "canceled"]


async def test_a_withdrawal_on_its_way_cannot_be_canceled(site: Site) -> None:
    player, address = await site.rich_player("0.5"), strangers_address()
    withdrawal = await player.withdraw(sat("0.3"), address)
    await site.sent(withdrawal)
    refused = await site.backend.post(f"/v1/withdrawals/{withdrawal}/cancel")
    assert (refused.status, refused.code) == (409, "wrong_state")
    await site.finished(withdrawal)
    assert await paid_to(site, address) == [sat("0.3")]


async def test_a_withdrawal_that_the_signer_refuses_waits_for_another_person(make_site: MakeSite) -> None:
    """P9: the signer's own policy stands, whatever the daemon asks."""
    site = await make_site(**signer_limits(transaction_amount_max="0.1"))
    await site.start()
    player, address = await site.rich_player("1"), strangers_address()
    withdrawal = await player.withdraw(sat("0.2"), address)
    refused = await site.reaches(withdrawal, "in_review")
    assert refused["reason"].startswith("signer_refused")
    assert (await player.balance()).held == sat("0.2") + WITHDRAWAL_FEE

    path = f"/v1/withdrawals/{withdrawal}"
    assert (await site.backend.post(f"{path}/approve")).status == 403
    approved = await site.approver.post(f"{path}/approve")
    assert approved.status == 200
    await site.reaches(withdrawal, "in_review")
    rejected = await site.approver.post(f"{path}/reject", {"reason": "too much"})
    assert (rejected.body["state"], rejected.body["reason"]) == ("rejected", "too much")
    assert await player.balance() == Balance(total=sat("1"))
    await site.mine(FINAL)
    assert await paid_to(site, address) == []
    small = await player.withdraw(sat("0.1"), address)
    await site.finished(small)
    await assert_balanced(site)


async def test_nobody_approves_the_own_request(make_site: MakeSite) -> None:
    site = await make_site(**signer_limits(transaction_amount_max="0.1"))
    await site.start()
    everything = await site.caller(list(Scope))
    player = await site.rich_player("1")
    site.backend, backend = everything, site.backend
    withdrawal = await player.withdraw(sat("0.2"), strangers_address())
    await site.reaches(withdrawal, "in_review")
    refused = await everything.post(f"/v1/withdrawals/{withdrawal}/approve")
    assert refused.code == "approver_is_requester"
    assert (await site.approver.post(f"/v1/withdrawals/{withdrawal}/approve")).status == 200
    assert backend.key_id != everything.key_id


async def test_the_signers_hourly_limit_is_waited_out_and_refuses_nobody(make_site: MakeSite) -> None:
    site = await make_site(**signer_limits(transaction_amount_max="0.3", hourly_amount_max="0.3"))
    await site.start()
    player = await site.rich_player("0.5", "0.5")
    first = await player.withdraw(sat("0.2"), strangers_address())
    await site.finished(first)
    second = await player.withdraw(sat("0.2"), strangers_address())
    found = await site.reaches(second, "sending")
    await site.polled(10)
    assert (await site.withdrawal(second))["state"] == "sending"
    assert not await site.is_pending(found["tx_hash"])


async def test_a_withdrawal_beyond_the_wallets_coins_does_not_hold_up_smaller_ones(
    make_site: MakeSite,
) -> None:
    site = await make_site(chains={"bitcoin": {"batching": {"count_max": 2, "wait_max_s": 3600}}})
    await site.start()
    # The casino owes more than the wallet holds, as when most of the money is in cold storage.
    winner, player = await site.rich_player("0.001"), await site.rich_player("0.5")
    assert (await winner.transfer("win", sat("2"))).status == 201
    large = await winner.withdraw(sat("1.5"), strangers_address())
    small = [await player.withdraw(sat("0.1"), strangers_address()) for _ in range(2)]
    await site.finished(*small)
    assert (await site.withdrawal(large))["state"] == "queued"
    await site.net.send(await player.address(), "2")
    await site.mine(FINAL)
    urgent = await winner.withdraw(sat("0.1"), strangers_address(), priority="urgent")
    await site.finished(large, urgent)
    await assert_balanced(site)


@pytest.mark.parametrize("scheme", ["bip84", "bip86"])
async def test_deposits_to_either_kind_of_address_can_be_paid_out(make_site: MakeSite, scheme: str) -> None:
    site = await make_site(chains={"bitcoin": {"wallet": {"deposit_scheme": scheme}}})
    await site.start()
    player, address = await site.rich_player("0.1", "0.1", "0.1"), strangers_address()
    withdrawal = await player.withdraw(sat("0.25"), address)
    await site.finished(withdrawal)
    assert await paid_to(site, address) == [sat("0.25")]
    await assert_balanced(site)
