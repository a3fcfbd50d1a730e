"""Compliance on a whole cryptowatch: money that leaves unplayed waits for a person, and goes on when cleared."""

from cryptowatch.api.keys import Scope
from tests.promises.conftest import MakeSite
from tests.support.books import assert_balanced
from tests.support.running import sat, strangers_address

RAPID = {"amount_from": "0.1", "played_percent": 50}


async def test_a_withdrawal_of_unplayed_money_is_held_through_a_restart_and_paid_once_cleared(
    make_site: MakeSite,
) -> None:
    rules = {"interval_s": 0.05, "assets": {"BTC": {"rapid_withdrawal": RAPID}}}
    site = await make_site(compliance=rules)
    # Nothing is sent yet, so that the rule is there first.
    await site.start(["watch", "api"])
    player, officer = await site.rich_player("0.5"), await site.caller([Scope.COMPLIANCE])
    asked = await player.withdraw(sat("0.2"), strangers_address())

    async def opened() -> str | None:
        found = (await officer.get("/v1/cases?state=open")).body["data"]
        return found[0]["id"] if found else None

    case = await site.until(opened)
    await site.stop_daemon()
    await site.start_daemon()
    assert (await site.reaches(asked, "in_review"))["reason"] == "compliance"
    await site.polled(3)
    assert await site.pool.fetchval("SELECT count(*) FROM lineage") == 0
    decided = await officer.post(f"/v1/cases/{case}/decide", {"decision": "cleared", "reason": "known"})
    assert decided.status == 200
    await site.finished(asked)
    assert await site.story(case) == ["opened", "cleared"]
    assert (await site.story(asked))[:4] == ["requested", "queued", "in_review", "queued"]
    await assert_balanced(site)
