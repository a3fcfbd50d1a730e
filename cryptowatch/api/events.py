"""`/v1/events`: the log of every change, to catch up from any position. The same objects as in webhooks."""

from cryptowatch.api.calls import Call, Id, Page, PageQuery, Position, Reply, Text, body_id
from cryptowatch.api.paging import page, page_size, position_cursor
from cryptowatch.api.problems import Problem, refuse
from cryptowatch.db.pool import Connection
from cryptowatch.ids import Kind
from cryptowatch.ledger.events import feed_head, read_events, sequence_events
from cryptowatch.ledger.payload import EventView, event_view

EventPage = Page[EventView]


class EventsQuery(PageQuery, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Events after a `sequence`, oldest first; `type` may name several, separated by commas."""

    after: Position = 0
    type: Text | None = None
    account_id: Id | None = None


async def list_events(call: Call[EventsQuery, None], conn: Connection) -> Reply | Problem:
    """Gives positions to what was committed just now first, so that a caller sees its own writes."""
    query = call.query
    account_id = None
    if query.account_id is not None:
        account_id = body_id(Kind.ACCOUNT, query.account_id, "invalid_request")
    types = None if query.type is None else query.type.split(",")
    limit = page_size(query, call.services.settings.api.page_size_max)
    await sequence_events(conn)
    after = max(query.after, position_cursor(query) or 0)
    found = await read_events(conn, after, limit + 1, types, account_id)
    if not found:
        refuse_beyond(query.after, await feed_head(conn))
    return Reply(page(found, limit, lambda event: event.position, event_view))


def refuse_beyond(after: int, head: int) -> int:
    """A place that the feed has not reached. Raises Refused for it: nobody was ever given it by this database.

    It is of before the database came back from a backup: who went on in silence would miss what is told there anew.
    """
    if after > head:
        raise refuse(
            "invalid_request", f"the feed ends at {head}, before {after}: is the database another one?"
        )
    return after
