"""What proofs of liabilities look like as files: the published totals, the private leaves, an owner's proof.

Called by the `liabilities` commands. The leaves are as private as the players' balances: whoever has them sees all.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import msgspec

from cryptowatch.db.pool import Connection
from cryptowatch.errors import OperatorError
from cryptowatch.ids import Kind, show_id
from cryptowatch.ledger.balances import owed_balances
from cryptowatch.treasury.liabilities import InvalidProof, Leaf, Node, Step, Tree, check

T = TypeVar("T", bound=msgspec.Struct)

_SALT_BYTES = 32
PUBLISHED = "liabilities.json"

_Hex32 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
_BaseUnits = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,78}\Z")]


class Total(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of one asset. `root` is null where nothing is owed."""

    asset: str
    base_units: _BaseUnits
    owners: int
    root: _Hex32 | None


class Published(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For everybody: what is owed, all of one moment."""

    format: Literal["cryptowatch-liabilities-1"]
    taken_at: datetime
    totals: list[Total]


class _Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    owner: str
    base_units: _BaseUnits
    salt: _Hex32


class _Beside(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    side: Literal["left", "right"]
    base_units: _BaseUnits
    hash: _Hex32


class Proof(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For one owner: the balance, and what leads from it to the published root."""

    format: Literal["cryptowatch-inclusion-1"]
    asset: str
    owner: str
    base_units: _BaseUnits
    salt: _Hex32
    way: list[_Beside]


async def read_owed(
    conn: Connection, assets: Sequence[str], random_bytes: Callable[[int], bytes], advance: Callable[[], None]
) -> dict[str, list[Leaf]]:
    """By asset, every balance above zero, each with a salt of its own; `advance` is called for each.

    In one transaction, whose snapshot is the moment of the statement.
    """
    leaves: dict[str, list[Leaf]] = {asset: [] for asset in assets}
    async for owed in owed_balances(conn):
        owner = (
            show_id(Kind.ACCOUNT, owed.owner_id)
            if owed.owner_kind == "player"
            else f"{owed.owner_kind}:{owed.owner_id.hex}:{owed.role}"
        )
        leaves.setdefault(owed.asset, []).append(Leaf(owner, owed.base_units, random_bytes(_SALT_BYTES)))
        advance()
    return leaves


def export(folder: Path, leaves: Mapping[str, list[Leaf]], now: datetime) -> Published:
    """Write the files into a new folder. Raises OperatorError when it is there: what was published is not replaced."""
    try:
        folder.mkdir(parents=True, mode=0o700)
    except OSError as problem:
        raise OperatorError(f"cannot make {folder}: {problem.strerror}") from problem
    totals = [_write_asset(folder, asset, leaves[asset]) for asset in sorted(leaves)]
    published = Published("cryptowatch-liabilities-1", now, totals)
    _write(folder / PUBLISHED, [msgspec.json.format(msgspec.json.encode(published))])
    return published


def _write_asset(folder: Path, asset: str, leaves: list[Leaf]) -> Total:
    leaves.sort(key=lambda leaf: leaf.salt)
    rows = (_Row(leaf.owner, str(leaf.amount), leaf.salt.hex()) for leaf in leaves)
    _write(folder / _leaves_name(asset), (msgspec.json.encode(row) for row in rows))
    if not leaves:
        return Total(asset, "0", 0, None)
    root = Tree(asset, leaves).root
    return Total(asset, str(root.amount), len(leaves), root.hash.hex())


def prove(folder: Path, asset: str, owner: str) -> Proof:
    """Raises OperatorError when the export has no balance of this owner's, or is not what was published."""
    published = read(folder / PUBLISHED, Published)
    total = _total(published, asset)
    leaves = list(_read_leaves(folder / _leaves_name(asset)))
    place = next((n for n, leaf in enumerate(leaves) if leaf.owner == owner), None)
    if place is None:
        raise OperatorError(f"{owner} is owed no {asset} in this export")
    tree = Tree(asset, leaves)
    if tree.root.hash.hex() != total.root:
        raise OperatorError("the leaves are not those of the published root: they were changed")
    leaf = leaves[place]
    way = [_Beside(side, str(node.amount), node.hash.hex()) for side, node in tree.way(place)]
    return Proof("cryptowatch-inclusion-1", asset, owner, str(leaf.amount), leaf.salt.hex(), way)


def verify(proof: Proof, published: Published) -> None:
    """Raises OperatorError unless the proof's balance is part of the published total."""
    total = _total(published, proof.asset)
    if total.root is None:
        raise OperatorError(f"the published total owes no {proof.asset} to anybody")
    leaf = Leaf(proof.owner, int(proof.base_units), bytes.fromhex(proof.salt))
    way = [Step(one.side, Node(int(one.base_units), bytes.fromhex(one.hash))) for one in proof.way]
    try:
        check(proof.asset, leaf, way, Node(int(total.base_units), bytes.fromhex(total.root)))
    except InvalidProof as problem:
        raise OperatorError(f"this balance is not part of the published total: {problem}") from problem


def read(path: Path, kind: type[T]) -> T:
    """Raises OperatorError."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except OSError as problem:
        raise OperatorError(f"cannot read {path}: {problem.strerror}") from problem
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise OperatorError(f"{path} is not what it should be: {problem}") from problem


def _total(published: Published, asset: str) -> Total:
    for total in published.totals:
        if total.asset == asset:
            return total
    raise OperatorError(f"the published totals have no {asset}")


def _read_leaves(path: Path) -> Iterator[Leaf]:
    try:
        with path.open("rb") as lines:
            for line in lines:
                row = msgspec.json.decode(line, type=_Row)
                yield Leaf(row.owner, int(row.base_units), bytes.fromhex(row.salt))
    except OSError as problem:
        raise OperatorError(f"cannot read {path}: {problem.strerror}") from problem
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise OperatorError(f"{path} is not what it should be: {problem}") from problem


def _leaves_name(asset: str) -> str:
    return f"leaves-{asset}.jsonl"


def _write(path: Path, lines: Iterator[bytes] | Sequence[bytes]) -> None:
    """Private: 0600."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        for line in lines:
            stream.write(line + b"\n")
        stream.flush()
        os.fsync(stream.fileno())
