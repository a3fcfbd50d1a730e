"""Where a transfer came from, by the first node that knows. Called by compliance, outside any transaction (P4).

No quorum: a node that lies can hide a source or name a wrong one, which opens a case or does not, and moves no money.
"""

from collections.abc import Sequence

from cryptowatch.chains.port import Node
from cryptowatch.errors import NodeLied, NodeRejected, NodeUnavailable


async def funders_of(
    nodes: Sequence[Node], tx_hash: bytes, position: int, block_hash: bytes
) -> Sequence[str]:
    """Addresses as nodes show them. Empty when every node says that the block has no such transaction (any more).

    Raises NodeUnavailable when no node knows, and one of them might later.
    """
    failure: NodeUnavailable | NodeRejected | NodeLied | None = None
    for node in nodes:
        try:
            found = await node.funders(tx_hash, position, block_hash)
        except (NodeUnavailable, NodeRejected, NodeLied) as problem:
            failure = problem
        else:
            if found is not None:
                return found
    if failure is not None:
        raise NodeUnavailable(failure.node, f"where a deposit came from: {failure}") from failure
    return ()
