"""`/v1/fees`: what a payment would bid now, and why.

Shows what the process that sends wrote down at its last survey, so that any process can answer, and no request can
make nodes work. `quoted_at` says how old it is.
"""

import msgspec

from cryptowatch.api.calls import Call, Id, Reply
from cryptowatch.api.problems import Problem
from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.sending.quotes import FeeQuote

SQL = load_queries(__package__, "fees.sql")


class FeesQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    chain: Id


async def show_fees(call: Call[FeesQuery, None], conn: Connection) -> Reply | Problem:
    chain = call.query.chain
    if chain not in call.services.settings.chains:
        return Problem("unknown_chain", "no such chain in the settings")
    document = await conn.fetchval(SQL["quote"], chain)
    if document is None:
        return Problem("fees_unknown", "no process with the role `send` has surveyed this chain's fees yet")
    return Reply(msgspec.json.decode(document, type=FeeQuote))
