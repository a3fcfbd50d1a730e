"""`/v1/deposits`: what players paid in, and the release of what waits for a person."""

import msgspec

from cryptowatch.api.calls import Call, Id, NoQuery, Page, PageQuery, Reply, Text, body_id, not_found
from cryptowatch.api.paging import page, page_size, uuid_cursor
from cryptowatch.api.problems import Problem
from cryptowatch.db.pool import Connection
from cryptowatch.deposits.listing import Filter, list_deposits, read_deposit, shown
from cryptowatch.deposits.machine import State
from cryptowatch.deposits.release import release_deposit
from cryptowatch.deposits.view import DepositView
from cryptowatch.ids import Kind

DepositPage = Page[DepositView]


class DepositsQuery(PageQuery, frozen=True, forbid_unknown_fields=True, kw_only=True):
    account_id: Id | None = None
    state: State | None = None
    chain: Text | None = None


class Empty(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing needs to be said: send `{}`."""


async def list_all_deposits(call: Call[DepositsQuery, None], conn: Connection) -> Reply | Problem:
    query = call.query
    limit = page_size(query, call.services.settings.api.page_size_max)
    account_id = None
    if query.account_id is not None:
        account_id = body_id(Kind.ACCOUNT, query.account_id, "invalid_request")
    wanted = Filter(account_id, query.state, query.chain)
    rows = await list_deposits(conn, wanted, limit=limit + 1, before=uuid_cursor(query))
    return Reply(page(rows, limit, lambda row: row["id"], lambda row: shown(row, call.services.decimals)))


async def get_deposit(call: Call[NoQuery, None], conn: Connection) -> Reply | Problem:
    row = await read_deposit(conn, call.path_id(Kind.DEPOSIT))
    if row is None:
        raise not_found()
    return Reply(shown(row, call.services.decimals))


async def release_quarantined(call: Call[NoQuery, Empty], conn: Connection) -> Reply | Problem:
    """Lets a quarantined deposit go on to where its chain is."""
    deposit_id = call.path_id(Kind.DEPOSIT)
    row = await read_deposit(conn, deposit_id)
    if row is None:
        raise not_found()
    state = await release_deposit(conn, deposit_id, call.services.rules[row["chain"]], call.now)
    if state is None:
        return Problem("wrong_state", f"a deposit that is {row['state']} is not in quarantine")
    released = await read_deposit(conn, deposit_id)
    assert released is not None
    return Reply(shown(released, call.services.decimals))
