"""`/v1/accounts/{id}/allowed-addresses`: where an account allows its withdrawals to go."""

from datetime import timedelta
from typing import Annotated

import msgspec
from msgspec import Meta

from cryptowatch.accounts.allowed import NewAllowed, allow_address, list_allowed, remove_allowed
from cryptowatch.accounts.players import read_player
from cryptowatch.api.calls import TEXT, Call, NoQuery, Reply, Text, not_found
from cryptowatch.api.problems import Problem, refuse
from cryptowatch.db.pool import Connection
from cryptowatch.ids import Kind, read_id
from cryptowatch.payouts.destination import read_destination
from cryptowatch.payouts.policy import Refusal


class AllowedAddressRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Allowing an address that is allowed already changes nothing."""

    chain: Text
    address: Annotated[str, Meta(pattern=TEXT, min_length=1, max_length=200)]
    label: Annotated[str, Meta(pattern=TEXT, max_length=200)] | None = None


async def create_allowed(call: Call[NoQuery, AllowedAddressRequest], conn: Connection) -> Reply | Problem:
    wanted, services = call.body, call.services
    if wanted.chain not in services.settings.chains:
        raise refuse("unknown_chain", "no such chain")
    destination = read_destination(wanted.address, wanted.chain, services.read_address)
    if isinstance(destination, Refusal):
        raise refuse(destination.code, destination.detail)
    player = await read_player(conn, call.path_id(Kind.ACCOUNT))
    if player is None:
        raise not_found()
    policy = services.settings.withdrawals
    new = NewAllowed(
        services.new_id(call.now),
        wanted.chain,
        destination,
        wanted.address,
        wanted.label,
        usable_at=call.now + timedelta(seconds=policy.allow_list_cooling_off_s),
    )
    found = await allow_address(conn, player.id, new, count_max=policy.allowed_addresses_max, now=call.now)
    if found is None:
        raise refuse("too_many_addresses", f"an account allows at most {policy.allowed_addresses_max}")
    view, added = found
    return Reply(view, 201 if added else 200)


async def list_all_allowed(call: Call[NoQuery, None], conn: Connection) -> Reply | Problem:
    player = await read_player(conn, call.path_id(Kind.ACCOUNT))
    if player is None:
        raise not_found()
    return Reply(list(await list_allowed(conn, player.id)))


async def delete_allowed(call: Call[NoQuery, None], conn: Connection) -> Reply | Problem:
    allowed_id = read_id(Kind.ALLOWED_ADDRESS, call.path["allowed_address_id"])
    account_id = call.path_id(Kind.ACCOUNT)
    if allowed_id is None or not await remove_allowed(conn, account_id, allowed_id, call.now):
        raise not_found()
    return Reply(None)
