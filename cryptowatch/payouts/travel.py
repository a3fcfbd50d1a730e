"""Who sends a withdrawal and who receives it, as the travel rule asks of virtual-asset service providers.

Sent by the platform with the request, stored apart by `requests`, read by the API for the scope `compliance`. It is
personal data: no view, event, log or webhook has it.
"""

from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries

SQL = load_queries(__package__, "travel.sql")

_Text = Annotated[str, Meta(pattern=r"^[^\x00]*$", min_length=1, max_length=500)]


class Party(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A person or a company; `account` is the account's or the wallet's number there."""

    name: _Text
    account: _Text | None = None
    address: _Text | None = None
    country: Annotated[str, Meta(pattern=r"^[A-Z]{2}\Z")] | None = None
    birth_date: Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")] | None = None
    national_id: _Text | None = None


class TravelRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """`vasp`: the provider that keeps the beneficiary's wallet; none where the beneficiary keeps it."""

    originator: Party
    beneficiary: Party
    vasp: _Text | None = None


async def read_travel_rule(conn: Connection, withdrawal_id: UUID) -> TravelRule | None:
    data = await conn.fetchval(SQL["travel_rule"], withdrawal_id)
    return None if data is None else msgspec.json.decode(data, type=TravelRule)
