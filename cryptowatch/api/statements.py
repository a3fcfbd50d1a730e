"""`/v1/accounts/{id}/statement`: an account's postings, in pages and as a file."""

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from cryptowatch.api.accounts import BalanceView, balance_view, called_player
from cryptowatch.api.calls import TEXT, Call, Download, Page, PageQuery, Reply, Text
from cryptowatch.api.paging import encode_cursor, page_size, position_cursor
from cryptowatch.api.problems import Problem
from cryptowatch.db.pool import Connection
from cryptowatch.ids import Kind, show_id
from cryptowatch.ledger.rules import Kind as PostingKind
from cryptowatch.ledger.statement import Line, Wanted, statement
from cryptowatch.money import format_amount

#: What a spreadsheet would take for a formula at the beginning of a cell.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class StatementQuery(PageQuery, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`since` and `until`: postings from then on, and before then."""

    asset: Text | None = None
    since: Annotated[datetime, Meta(tz=True)] | None = None
    until: Annotated[datetime, Meta(tz=True)] | None = None


class ExportQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """As of the statement; a file has as many lines as the setting `api.export_lines_max` allows."""

    asset: Text | None = None
    since: Annotated[datetime, Meta(tz=True)] | None = None
    until: Annotated[datetime, Meta(tz=True)] | None = None
    cursor: Annotated[str, Meta(pattern=TEXT, max_length=100)] | None = None


class StatementLine(msgspec.Struct, frozen=True):
    """One posting: what it changed, signed, and the balance that it left. `source` names what caused it."""

    id: str
    created_at: datetime
    kind: PostingKind
    asset: str
    total_change: str
    held_change: str
    unfinalized_change: str
    balance: BalanceView
    reference: str | None
    source: str


StatementPage = Page[StatementLine]


async def list_statement(call: Call[StatementQuery, None], conn: Connection) -> Reply | Problem:
    limit = page_size(call.query, call.services.settings.api.page_size_max)
    lines, cursor = await _read(call, conn, limit)
    return Reply(Page(lines, cursor))


async def export_statement(call: Call[ExportQuery, None], conn: Connection) -> Download | Problem:
    """Amounts as in the statement; one line for each posting, newest first."""
    lines, cursor = await _read(call, conn, call.services.settings.api.export_lines_max)
    name = f"statement-{show_id(Kind.ACCOUNT, call.path_id(Kind.ACCOUNT))}.csv"
    return Download(_csv(map(_cells, lines)), name, cursor)


async def _read(
    call: Call[StatementQuery | ExportQuery, None], conn: Connection, limit: int
) -> tuple[list[StatementLine], str | None]:
    player, query, decimals = await called_player(call, conn), call.query, call.services.decimals
    wanted = Wanted(query.asset, query.since, query.until)
    found = await statement(
        conn, "player", player.id, limit=limit, before=position_cursor(query), wanted=wanted
    )
    lines = [_line(line, decimals[line.asset]) for line in found.lines]
    return lines, None if found.next_before is None else encode_cursor(found.next_before)


_HEADER = (
    *("id", "created_at", "kind", "asset", "total_change", "held_change", "unfinalized_change"),
    *("total", "playable", "withdrawable", "unfinalized", "held", "debt", "reference", "source"),
)


def _cells(line: StatementLine) -> Sequence[str]:
    after = line.balance
    return (
        *(line.id, line.created_at.isoformat(), line.kind, line.asset),
        *(line.total_change, line.held_change, line.unfinalized_change),
        *(after.total, after.playable, after.withdrawable, after.unfinalized, after.held, after.debt),
        *(_harmless(line.reference or ""), _harmless(line.source)),
    )


def _harmless(text: str) -> str:
    """Words of others, never run as a formula by whoever opens the file."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def _csv(rows: Iterable[Sequence[str]]) -> bytes:
    """RFC 4180."""
    written = io.StringIO(newline="")
    csv.writer(written).writerows([_HEADER, *rows])
    return written.getvalue().encode()


def _line(line: Line, decimals: int) -> StatementLine:
    return StatementLine(
        id=f"ln_{line.id}",
        created_at=line.created_at,
        kind=line.kind,
        asset=line.asset,
        total_change=format_amount(line.change.total, decimals),
        held_change=format_amount(line.change.held, decimals),
        unfinalized_change=format_amount(line.change.unfinalized, decimals),
        balance=balance_view(line.asset, line.after, decimals),
        reference=line.reference,
        source=line.key,
    )
