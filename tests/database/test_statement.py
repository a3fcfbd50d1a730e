"""Statements: every posting a line, newest first, in pages without gaps."""

from uuid import uuid4

from cryptowatch.db.pool import connection, transaction
from cryptowatch.ledger.accounts import ensure_players
from cryptowatch.ledger.rules import Balance, Kind
from cryptowatch.ledger.statement import Line, Wanted, statement
from tests.database.world import ASSET, NOW, World


async def test_each_line_tells_the_change_and_the_balance_after_it(world: World) -> None:
    owner = uuid4()
    player = await world.player(owner, final=100)
    await world.post(world.posting(Kind.BET, player, 30, reference="round 1"))
    await world.done(Kind.HOLD, player, 20)
    async with connection(world.pool) as conn:
        page = await statement(conn, "player", owner, limit=10)
    assert [(line.kind, line.change, line.after) for line in page.lines] == [
        (Kind.HOLD, Balance(0, 0, 20), Balance(70, 0, 20)),
        (Kind.BET, Balance(-30, 0, 0), Balance(70, 0, 0)),
        (Kind.DEPOSIT_CREDIT_FINAL, Balance(100, 0, 0), Balance(100, 0, 0)),
    ]
    assert (page.lines[1].reference, page.lines[1].created_at, page.lines[1].asset) == ("round 1", NOW, ASSET)
    assert page.next_before is None


async def test_pages_follow_each_other_without_gap_or_repetition_over_all_assets(world: World) -> None:
    owner, stranger = uuid4(), await world.player(final=5)
    await world.player(owner)
    async with transaction(world.pool) as conn:
        await ensure_players(conn, [(owner, "ETH")])
    player = await world.player(owner)
    await world.post_each(*(world.posting(Kind.WIN, player, n + 1) for n in range(25)))
    await world.done(Kind.BET, stranger, 5)
    lines: list[Line] = []
    async with connection(world.pool) as conn:
        page = await statement(conn, "player", owner, limit=10)
        lines += page.lines
        while page.next_before is not None:
            page = await statement(conn, "player", owner, limit=10, before=page.next_before)
            lines += page.lines
        assert (await statement(conn, "player", owner, limit=10, wanted=Wanted("ETH"))).lines == []
    assert [line.change.total for line in lines] == list(range(25, 0, -1))
