"""Proofs of liabilities, the pure part: whoever is counted can prove it, and nobody else can."""

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptowatch.treasury.liabilities import InvalidProof, Leaf, Node, Step, Tree, check, joined, leaf_node

ASSET = "BTC"


def owed(*amounts: int) -> list[Leaf]:
    return [Leaf(f"acc_{n}", amount, bytes([n % 256]) * 32) for n, amount in enumerate(amounts)]


@given(st.lists(st.integers(1, 2**200), min_size=1, max_size=40))
def test_every_owner_finds_the_own_balance_in_the_total(amounts: list[int]) -> None:
    leaves = owed(*amounts)
    tree = Tree(ASSET, leaves)
    assert tree.root.amount == sum(amounts)
    for place, leaf in enumerate(leaves):
        check(ASSET, leaf, tree.way(place), tree.root)


def test_the_hashes_are_those_of_the_description() -> None:
    one, two, three = owed(5, 7, 11)
    tree = Tree(ASSET, [one, two, three])

    def sha(*parts: bytes) -> bytes:
        return hashlib.sha256(b"".join(parts)).digest()

    def number(amount: int) -> bytes:
        return amount.to_bytes(32, "big")

    leaves = [
        sha(b"\0", b"BTC\0", leaf.owner.encode(), b"\0", leaf.salt, number(leaf.amount))
        for leaf in (one, two, three)
    ]
    left = sha(b"\1", number(5), leaves[0], number(7), leaves[1])
    assert tree.root == Node(23, sha(b"\1", number(12), left, number(11), leaves[2]))


@pytest.mark.parametrize(
    "forged",
    [
        lambda leaf: replace(leaf, amount=leaf.amount + 1),
        lambda leaf: replace(leaf, owner="acc_other"),
        lambda leaf: replace(leaf, salt=bytes(32)),
    ],
    ids=["another amount", "another owner", "another salt"],
)
def test_what_was_not_counted_has_no_proof(forged: object) -> None:
    leaves = owed(5, 7, 11, 13)
    tree = Tree(ASSET, leaves)
    with pytest.raises(InvalidProof, match="another root"):
        check(ASSET, forged(leaves[2]), tree.way(2), tree.root)  # type: ignore[operator]


def test_a_balance_of_one_asset_is_none_of_another() -> None:
    leaves = owed(5, 7)
    tree = Tree(ASSET, leaves)
    with pytest.raises(InvalidProof, match="another root"):
        check("ETH", leaves[0], tree.way(0), tree.root)


def test_a_total_that_is_less_than_was_added_up_is_found() -> None:
    leaves = owed(5, 7)
    tree = Tree(ASSET, leaves)
    with pytest.raises(InvalidProof, match="adds up to 12, not to 11"):
        check(ASSET, leaves[0], tree.way(0), Node(11, tree.root.hash))


def test_no_step_can_take_away_what_another_one_is_owed() -> None:
    [leaf] = owed(5)
    debt = Node(-4, bytes(32))
    with pytest.raises(InvalidProof, match="-4 is no balance"):
        joined(leaf_node(ASSET, leaf), debt)
    with pytest.raises(InvalidProof, match="no balance"):
        check(ASSET, leaf, [Step("right", debt)], Node(1, bytes(32)))
    with pytest.raises(InvalidProof, match="no balance"):
        leaf_node(ASSET, replace(leaf, amount=2**256))


def test_children_cannot_change_what_each_of_them_adds() -> None:
    """What a sum alone in the hash would allow."""
    one, two = owed(5, 7)
    left, right = leaf_node(ASSET, one), leaf_node(ASSET, two)
    assert joined(left, right).hash != joined(Node(6, left.hash), Node(6, right.hash)).hash


def test_nobody_is_owed_means_no_tree() -> None:
    with pytest.raises(ValueError, match="nothing is owed"):
        Tree(ASSET, [])
