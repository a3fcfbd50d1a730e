"""The withdrawal policy on real nodes: what needs no transaction has none, and what needs two people waits for both."""

import secrets
from pathlib import Path

from cryptowatch.api.keys import Scope
from cryptowatch.ledger.rules import Balance
from tests.promises.conftest import MakeSite
from tests.support.books import assert_balanced, house_balance, paid_to
from tests.support.running import FINAL, WITHDRAWAL_FEE, sat, strangers_address


async def test_p2_a_withdrawal_to_another_player_moves_in_the_ledger_once_and_never_on_the_chain(
    make_site: MakeSite,
) -> None:
    site = await make_site()
    await site.start()
    sender, recipient = await site.rich_player("0.5"), await site.player()
    address, key = await recipient.address(), secrets.token_hex(8)
    paid = await sender.ask_withdrawal(sat("0.2"), address, idempotency_key=key)
    assert (paid.body["state"], paid.body["recipient_account_id"]) == ("finalized", recipient.id)
    await site.stop_daemon()
    await site.start_daemon()
    again = await sender.ask_withdrawal(sat("0.2"), address, idempotency_key=key)
    assert again.body == paid.body
    own = await sender.ask_withdrawal(sat("0.1"), await sender.address())
    assert own.body["state"] == "finalized"
    onward = await recipient.withdraw(sat("0.2") - WITHDRAWAL_FEE, strangers_address())
    await site.finished(onward)
    assert (await sender.balance(), await recipient.balance()) == (Balance(total=sat("0.3")), Balance())
    assert await site.pool.fetchval("SELECT count(*) FROM lineage") == 1
    assert await house_balance(site, "internal") == 0
    assert await site.story(paid.body["id"]) == ["requested", "finalized"]
    await assert_balanced(site)


async def test_a_withdrawal_that_two_people_approve_is_paid_and_a_denied_one_is_not(
    make_site: MakeSite, tmp_path: Path
) -> None:
    deny_list = tmp_path / "denied.txt"
    deny_list.write_text("# nobody yet\n")
    policy = {
        "deny_list": str(deny_list),
        "deny_list_interval_s": 0.05,
        "assets": {"BTC": {"approval_from": "0.1", "second_approval_from": "0.2"}},
    }
    site = await make_site(withdrawals=policy)
    await site.start()
    player, address, denied = await site.rich_player("1"), strangers_address(), strangers_address()
    large, listed = await player.withdraw(sat("0.2"), address), await player.withdraw(sat("0.1"), denied)
    second = await site.caller([Scope.APPROVALS])
    first = await site.approver.post(f"/v1/withdrawals/{large}/approve", {"reason": "known player"})
    assert first.body["state"] == "in_review"
    await site.polled(3)
    assert await site.pool.fetchval("SELECT count(*) FROM lineage") == 0
    assert (await second.post(f"/v1/withdrawals/{large}/approve")).body["state"] == "queued"
    deny_list.write_text(f"bitcoin {denied}\n")

    async def read() -> bool:
        return (await site.metric("deny_list_lines"))[""] == 1

    await site.until(read)
    assert (await second.post(f"/v1/withdrawals/{listed}/approve")).code == "address_denied"
    assert (await second.post(f"/v1/withdrawals/{listed}/reject")).body["state"] == "rejected"
    await site.finished(large)
    assert await paid_to(site, address) == [sat("0.2")]
    await site.mine(FINAL)
    assert await paid_to(site, denied) == []
    story = ["requested", "in_review", "approved", "queued", "sending", "confirmed", "finalized"]
    assert await site.story(large) == story
    await assert_balanced(site)
