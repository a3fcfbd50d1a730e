"""Agreement among nodes, computed over hashes at a height and never over head numbers. Pure.

Called by `chains.nodes`. Keeps P5: a hash counts only when `quorum` nodes report it at its height, so a node
that lies about a height, or invents a higher one, cannot move the agreed chain. `quorum` is a number of nodes
and never shrinks when nodes are away: fewer voices can cost the answer, but never its truth.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cryptowatch.chains.port import FeeMarket


class BlockPoint(NamedTuple):
    """A block named by height and hash (bytes in the order in which explorers show them)."""

    height: int
    hash: bytes


def agreed(voices: Mapping[str, bytes], quorum: int) -> bytes | None:
    """The hash that at least `quorum` nodes report for one height; None without one.

    A quorum that is no majority could be reached twice; two answers are no agreement, so that gives None as
    well.
    """
    reached = [block_hash for block_hash, count in Counter(voices.values()).items() if count >= quorum]
    return reached[0] if len(reached) == 1 else None


def highest_possible(heads: Mapping[str, BlockPoint], quorum: int) -> int | None:
    """The highest height at which `quorum` nodes have any block at all: the only place to begin the search.

    A node's hash is known there or can be asked for, whatever higher head another node claims.
    """
    heights = sorted((head.height for head in heads.values()), reverse=True)
    return heights[quorum - 1] if len(heights) >= quorum else None


def reference_height(heads: Mapping[str, BlockPoint]) -> int | None:
    """The height against which lag is counted: the upper median of the reported heads.

    A minority that claims an absurd head cannot make the others look late, nor can a minority that stands
    still hide its lag.
    """
    heights = sorted((head.height for head in heads.values()), reverse=True)
    return heights[(len(heights) - 1) // 2] if heights else None


def contradicting(voices: Mapping[str, bytes], agreed_hash: bytes | None) -> frozenset[str]:
    """The nodes that report another hash than the agreed one: on another branch, or lying.

    A node that only lags reports nothing at the height, and so is not among them.
    """
    if agreed_hash is None:
        return frozenset()
    return frozenset(name for name, block_hash in voices.items() if block_hash != agreed_hash)


def why_not_agreed(heads: Mapping[str, BlockPoint], nodes: int, quorum: int) -> str:
    """One line for operators: why no head is agreed."""
    if len(heads) < quorum:
        return f"{len(heads)} of {nodes} nodes answer, {quorum} must agree"
    most = max(Counter(head for head in heads.values()).values())
    return f"{len(heads)} of {nodes} nodes answer, at most {most} of them agree, {quorum} must"


def agreed_market(told: Sequence[FeeMarket], quorum: int) -> FeeMarket:
    """What inclusion costs, of what several nodes say.

    Estimates: the lower median per target, of those that a quorum gives. Nothing proves an estimate; the median lies
    within what honest nodes say as long as liars are fewer, and of two the lower one is taken because a fee too low can
    be raised later, while one too high is gone. Floor: the lowest at which a quorum relays.
    """
    targets = sorted({target for market in told for target in market.estimates})
    estimates: dict[int, int] = {}
    for target in targets:
        rates = sorted(market.estimates[target] for market in told if target in market.estimates)
        if len(rates) >= quorum:
            estimates[target] = rates[(len(rates) - 1) // 2]
    floors = sorted(market.floor for market in told)
    return FeeMarket(estimates, floors[min(quorum, len(floors)) - 1] if floors else 0)
