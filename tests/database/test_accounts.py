"""Accounts are made on demand, once, whoever asks."""

import asyncio
from uuid import uuid4

import asyncpg
import pytest

from cryptowatch.db.pool import Pool, connection, transaction
from cryptowatch.ledger.accounts import AccountRef, ensure_accounts, house, open_house_accounts, player
from cryptowatch.ledger.balances import owner_balances


async def test_accounts_are_created_once_and_answered_in_the_order_asked(pool: Pool) -> None:
    one, two = uuid4(), uuid4()
    async with transaction(pool) as conn:
        (first,) = await ensure_accounts(conn, [player(one, "BTC")])
        refs = [player(two, "BTC"), player(one, "BTC"), player(one, "ETH"), player(two, "BTC")]
        ids = await ensure_accounts(conn, refs)
    assert ids[1] == first
    assert ids[0] == ids[3]
    assert len(set(ids)) == 3


async def test_a_new_account_has_a_zero_balance_and_a_stranger_has_none(pool: Pool) -> None:
    owner = uuid4()
    async with transaction(pool) as conn:
        await ensure_accounts(conn, [player(owner, "BTC")])
        (account,) = await owner_balances(conn, "player", owner)
        assert (account.asset, account.balance.total, account.balance.debt) == ("BTC", 0, 0)
        assert await owner_balances(conn, "player", uuid4()) == []
        assert await owner_balances(conn, "agent", owner) == []


async def test_accounts_asked_for_at_once_are_the_same(pool: Pool) -> None:
    refs = [player(uuid4(), "BTC") for _ in range(20)]

    async def ensure(order: list[AccountRef]) -> list[int]:
        async with transaction(pool) as conn:
            ids = await ensure_accounts(conn, order)
        return [ids[order.index(ref)] for ref in refs]

    answers = await asyncio.gather(*(ensure(refs if n % 2 else refs[::-1]) for n in range(10)))
    assert all(answer == answers[0] for answer in answers)


async def test_house_accounts_are_looked_up_by_role_and_asset(pool: Pool) -> None:
    first = await open_house_accounts(pool, [("game", "BTC"), ("game", "ETH"), ("game", "BTC")])
    again = await open_house_accounts(pool, [("game", "ETH")])
    assert first.id("game", "ETH") == again.id("game", "ETH") != first.id("game", "BTC")
    with pytest.raises(KeyError):
        again.id("game", "BTC")


async def test_only_the_house_is_the_house(pool: Pool) -> None:
    async with connection(pool) as conn:
        for ref in (
            AccountRef("house", uuid4(), "game", "BTC"),
            AccountRef("player", house("x", "y").owner_id, "m", "B"),
        ):
            with pytest.raises(asyncpg.CheckViolationError):
                await ensure_accounts(conn, [ref])
