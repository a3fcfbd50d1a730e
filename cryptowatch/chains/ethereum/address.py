"""Address texts -> accounts and back (EIP-55). Pure.

Called by the API (is this a place to which we can pay?), by `sending`, by whatever reads addresses out of the settings
and by whatever shows one. A text is paid
to only when it is right in every detail, because money sent to a wrong account is gone. Letters of both cases carry a
checksum; letters of one case carry none and are taken, as many wallets show them so.
"""

import re

from cryptowatch.chains.ethereum.facts import ChainFacts
from cryptowatch.chains.ethereum.keccak import keccak
from cryptowatch.chains.port import InvalidAddress

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)
#: Precompiled contracts stand at 1 to 0x11 and at 0x100 (EIP-7951); EIP-7587 keeps all up to here for others.
_RESERVED_MAX = 0x1FF


def read_address(text: str, facts: ChainFacts) -> bytes | InvalidAddress:
    """The account to pay; or why there is none."""
    if _ADDRESS.fullmatch(text) is None:
        return InvalidAddress("not an address: that would be 0x and 40 hexadecimal digits")
    account = bytes.fromhex(text[2:])
    if is_mistyped(text):
        return InvalidAddress("the checksum (upper and lower case) is wrong: there is a typing error in it")
    if not any(account):
        return InvalidAddress("the zero address: money sent to it is gone")
    if int.from_bytes(account, "big") <= _RESERVED_MAX:
        return InvalidAddress("an address of the network itself: money sent to it is gone")
    if account in facts.tokens:
        return InvalidAddress(
            f"the contract of the token {facts.tokens[account].asset}, not somebody's account"
        )
    if account in (facts.payouts, facts.sweeper):
        return InvalidAddress("one of our own contracts: it keeps no money for anybody")
    return account


def is_mistyped(text: str) -> bool:
    """Whether 0x and 40 digits carry a checksum that is not theirs."""
    digits = text[2:]
    return digits not in (digits.lower(), digits.upper()) and text != address_of(bytes.fromhex(digits))


def address_of(account: bytes) -> str:
    """The text with its checksum."""
    digits = account.hex()
    cases = keccak(digits.encode()).hex()
    return "0x" + "".join(
        digit.upper() if case >= "8" else digit for digit, case in zip(digits, cases, strict=False)
    )
