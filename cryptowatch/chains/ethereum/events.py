"""What tokens and our contracts say in logs: topics in hex digits, and how to read the rest. Pure.

Called by `contents`. The contracts themselves are in `contracts/`, their calls in `our_calls`.
"""

from cryptowatch.chains.ethereum.keccak import keccak


def _topic(signature: str) -> str:
    return keccak(signature.encode()).hex()


TRANSFER = _topic("Transfer(address,address,uint256)")
#: By the payouts contract: it could not pay the item with this number.
FAILED = _topic("Failed(uint256)")
#: By a deposit account's own code: it sent so much of the chain's own coin to the wallet.
SWEPT = _topic("Swept(uint256)")

_WORD = 64  # digits


def read_number(data: str) -> int | None:
    """What a log tells that has one number; None where it has something else."""
    return int(data, 16) if len(data) == _WORD else None
