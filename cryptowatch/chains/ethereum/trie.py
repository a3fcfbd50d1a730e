"""The root of a Merkle Patricia trie whose keys are the RLP of 0, 1, 2, …: transactions and receipts. Pure.

Called by `block`, which compares the roots with the header's (Yellow Paper, appendix D; EIP-2718 for typed items).
"""

from collections.abc import Sequence

from cryptowatch.chains.ethereum import rlp
from cryptowatch.chains.ethereum.keccak import keccak

#: The root of nothing: the hash of the empty string's RLP.
EMPTY_ROOT = keccak(b"\x80")

#: A key's nibbles as digits, and its value's.
_Leaf = tuple[str, str]


def ordered_root(values: Sequence[str]) -> bytes:
    """The root over the values (hex digits) by their place. Raises MalformedData for digits that are not hex."""
    if not values:
        return EMPTY_ROOT
    leaves = sorted((rlp.number(place), value) for place, value in enumerate(values))
    return keccak(rlp.raw(_node(leaves, 0)))


def _node(leaves: Sequence[_Leaf], depth: int) -> str:
    """The encoded node over leaves that share their first `depth` nibbles; they are in order and not empty."""
    first, value = leaves[0]
    if len(leaves) == 1:
        return rlp.listed(rlp.string(_path(first[depth:], leaf=True)) + rlp.string(value))
    shared = _shared(first, leaves[-1][0], depth)
    if shared > depth:
        return rlp.listed(rlp.string(_path(first[depth:shared], leaf=False)) + _reference(leaves, shared))
    children = []
    start = 0
    for nibble in "0123456789abcdef":
        end = start
        while end < len(leaves) and leaves[end][0][depth] == nibble:
            end += 1
        children.append(_reference(leaves[start:end], depth + 1) if end > start else "80")
        start = end
    # No key is the beginning of another one, so that no branch has a value.
    return rlp.listed("".join(children) + "80")


def _reference(leaves: Sequence[_Leaf], depth: int) -> str:
    """How the parent names a node: by hash, or as it is when it is shorter than one."""
    node = _node(leaves, depth)
    return node if len(node) < 64 else "a0" + keccak(rlp.raw(node)).hex()


def _shared(first: str, last: str, depth: int) -> int:
    """How many nibbles all keys between the two (in order) have in common."""
    while first[depth] == last[depth]:
        depth += 1
    return depth


def _path(nibbles: str, *, leaf: bool) -> str:
    """The hex-prefix encoding (appendix C)."""
    flag = 2 if leaf else 0
    return f"{flag + 1:x}{nibbles}" if len(nibbles) & 1 else f"{flag:x}0{nibbles}"
