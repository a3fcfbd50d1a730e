"""What several accounts may share, and so be one person's: devices, networks, addresses on chains.

The platform reports devices and networks through the API; addresses that money came from or was sent to are noted by
`note_addresses`, a consumer of the event log, and by compliance. Referrals and compliance ask who shares what; a person
decides what it means. What a crowd shares (the network of a hotel) says nothing and is left out.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

import msgspec

from cryptowatch.db.pool import Connection
from cryptowatch.db.queries import load_queries
from cryptowatch.ids import Kind, show_id
from cryptowatch.ledger.consumers import take

SQL = load_queries(__package__, "traits.sql")

#: A household or an office, not a person: what of an address says where it is.
_PREFIXES = {4: 24, 6: 56}
#: What stands before the address of IPv4 in one of IPv6 (RFC 4291, 2.5.5.2).
_MAPPED_BITS = 96
_EVENTS_MAX = 500


class TraitKind(StrEnum):
    DEVICE = "device"  # the platform's fingerprint of it
    IP_PREFIX = "ip_prefix"
    FUNDING_ADDRESS = "funding_address"  # where a deposit came from
    WITHDRAWAL_ADDRESS = "withdrawal_address"


@dataclass(frozen=True, slots=True)
class Trait:
    kind: TraitKind
    value: str


class SharedTrait(msgspec.Struct, frozen=True):
    """`accounts`: how many have it, this one too."""

    kind: TraitKind
    value: str
    accounts: int


class Duplicate(msgspec.Struct, frozen=True):
    """Another account, and what it shares with the one asked about."""

    account_id: str
    shared: list[SharedTrait]


def ip_prefix(text: str) -> str | None:
    """`203.0.113.7` -> `203.0.113.0/24`; a network that is wider stays as it is; None when it is neither.

    An address itself is never kept: the prefix says enough.
    """
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
    # Of a socket for both versions, an address of IPv4 comes as one of IPv6.
    mapped = network.network_address.ipv4_mapped if isinstance(network, ipaddress.IPv6Network) else None
    if mapped is not None and network.prefixlen >= _MAPPED_BITS:
        network = ipaddress.ip_network(f"{mapped}/{network.prefixlen - _MAPPED_BITS}", strict=False)
    length = _PREFIXES[network.version]
    return str(network if network.prefixlen <= length else network.supernet(new_prefix=length))


async def add_traits(
    conn: Connection, account_id: UUID, traits: Sequence[Trait], *, count_max: int, now: datetime
) -> None:
    """Note what an account was seen with, or seen again. The oldest beyond `count_max` are forgotten."""
    ordered = sorted(set(traits), key=lambda trait: (trait.kind, trait.value))
    kinds, values = [trait.kind for trait in ordered], [trait.value for trait in ordered]
    await conn.execute(SQL["add"], [account_id] * len(ordered), kinds, values, [now] * len(ordered))
    await conn.execute(SQL["forget"], account_id, count_max)


async def find_duplicates(conn: Connection, account_id: UUID, shared_by_max: int) -> list[Duplicate]:
    """Accounts that share something, those that share most first."""
    found = dict[UUID, list[SharedTrait]]()
    for row in await conn.fetch(SQL["shared"], account_id, shared_by_max):
        shared = SharedTrait(TraitKind(row["kind"]), row["value"], len(row["others"]) + 1)
        for other in row["others"]:
            found.setdefault(other, []).append(shared)
    ordered = sorted(found, key=lambda other: (-len(found[other]), other))
    return [Duplicate(show_id(Kind.ACCOUNT, other), found[other]) for other in ordered]


class _Destination(msgspec.Struct, frozen=True):
    """Of a withdrawal's event, what is wanted here."""

    chain: str
    address: str


async def note_addresses(conn: Connection) -> int:
    """Note where the accounts' withdrawals go, from the event log; how many positions were read. In a transaction."""
    portion = await take(conn, "traits", ["withdrawal.requested"], _EVENTS_MAX)
    if portion is None:
        return 0
    seen = dict[tuple[UUID, str], datetime]()
    for event in portion.events:
        asked = msgspec.json.decode(event.data, type=_Destination)
        assert event.account_id is not None
        seen[event.account_id, address_trait(asked.chain, asked.address).value] = event.created_at
    if seen:
        ordered = sorted(seen)
        await conn.execute(
            SQL["add"],
            [account for account, _ in ordered],
            [TraitKind.WITHDRAWAL_ADDRESS] * len(ordered),
            [value for _, value in ordered],
            [seen[one] for one in ordered],
        )
    return portion.until - portion.after


def address_trait(chain: str, address: str, kind: TraitKind = TraitKind.WITHDRAWAL_ADDRESS) -> Trait:
    """An address as it is compared. Hexadecimal ones mean the same in any case."""
    return Trait(kind, f"{chain}:{address.lower() if address.startswith('0x') else address}")
