"""Proof of liabilities: a Merkle tree over what the house owes, in which each account finds itself. Pure.

Called by the `liabilities` commands. Who publishes a total and a root can leave nobody out unnoticed: each owner checks
the way from the own balance to the root, and every step adds up. What is proven is that the total counts every owner
who checked; that the money is there, `reconcile` shows.

    leaf  = SHA-256(0x00 | asset | 0x00 | owner | 0x00 | salt | amount)
    node  = SHA-256(0x01 | left amount | left hash | right amount | right hash)

with amounts as 32 bytes, big-endian, and a node's amount the sum of its two. Both children's amounts stand in the hash:
with their sum alone, as in Maxwell's first proposal, one could claim less than was added up (Chalkias, Lewi, Mohassel,
Nikolaenko: Distributed Auditing Proofs of Liabilities, 2020, section 3). The tags keep a leaf from passing for a node
(RFC 6962, section 2.1). Salts hide who the neighbours on the way are; the leaves' order by salt hides who came when.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

_AMOUNT_BYTES = 32
_AMOUNT_MAX = (1 << 8 * _AMOUNT_BYTES) - 1


class InvalidProof(ValueError):
    """A proof that does not lead from its balance to its root; says where it fails."""


class Node(NamedTuple):
    """Amounts in base units."""

    amount: int
    hash: bytes


class Step(NamedTuple):
    """What stands beside the way to the root, and on which side."""

    side: Literal["left", "right"]
    node: Node


@dataclass(frozen=True, slots=True)
class Leaf:
    """One owner's balance of the tree's asset, in base units, above zero."""

    owner: str
    amount: int
    salt: bytes


def leaf_node(asset: str, leaf: Leaf) -> Node:
    """Raises InvalidProof for an amount that is no balance."""
    text = f"{asset}\0{leaf.owner}\0".encode()
    return Node(leaf.amount, hashlib.sha256(b"\0" + text + leaf.salt + _octets(leaf.amount)).digest())


def joined(left: Node, right: Node) -> Node:
    """Raises InvalidProof for amounts that are no balances: a negative one would hide what another is owed."""
    content = _octets(left.amount) + left.hash + _octets(right.amount) + right.hash
    return Node(left.amount + right.amount, hashlib.sha256(b"\1" + content).digest())


class Tree:
    """Over at least one leaf, in the order given. A node without a neighbour goes up as it is."""

    def __init__(self, asset: str, leaves: Sequence[Leaf]) -> None:
        if not leaves:
            raise ValueError("nothing is owed, so there is no tree")
        level = [leaf_node(asset, leaf) for leaf in leaves]
        self._levels = [level]
        while len(level) > 1:
            pairs = zip(level[::2], level[1::2], strict=False)
            level = [*(joined(*pair) for pair in pairs), *(level[-1:] if len(level) % 2 else ())]
            self._levels.append(level)

    @property
    def root(self) -> Node:
        return self._levels[-1][0]

    def way(self, index: int) -> list[Step]:
        """From the leaf at this place to the root."""
        steps = []
        for level in self._levels[:-1]:
            beside = index ^ 1
            if beside < len(level):
                steps.append(Step("left" if beside < index else "right", level[beside]))
            index //= 2
        return steps


def check(asset: str, leaf: Leaf, way: Sequence[Step], root: Node) -> None:
    """Raises InvalidProof unless the way leads from the leaf to this root and its amount."""
    node = leaf_node(asset, leaf)
    for side, beside in way:
        node = joined(beside, node) if side == "left" else joined(node, beside)
    if node.hash != root.hash:
        raise InvalidProof("the way leads to another root")
    if node.amount != root.amount:
        raise InvalidProof(f"the way adds up to {node.amount}, not to {root.amount}")


def _octets(amount: int) -> bytes:
    if not 0 <= amount <= _AMOUNT_MAX:
        raise InvalidProof(f"{amount} is no balance")
    return amount.to_bytes(_AMOUNT_BYTES, "big")
