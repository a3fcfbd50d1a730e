"""From an address as people wrote it to where a chain pays, or to a refusal that says what is wrong. Pure.

Called by the API for withdrawals and for allowed addresses, and by the deny list.
"""

from cryptowatch.chains.port import InvalidAddress, ReadAddresses
from cryptowatch.payouts.policy import Refusal


def read_destination(text: str, chain: str, readers: ReadAddresses) -> bytes | Refusal:
    """Whoever pasted the address of another chain or network is told so: money sent there would be gone."""
    found = readers[chain](text)
    if not isinstance(found, InvalidAddress):
        return found
    if found.other_network:
        return Refusal("network_mismatch", found.reason)
    others = [
        name
        for name in sorted(readers)
        if name != chain and not isinstance(readers[name](text), InvalidAddress)
    ]
    if others:
        return Refusal("network_mismatch", f"an address of {' or '.join(others)}, but this is {chain}")
    return Refusal("invalid_address", found.reason)
