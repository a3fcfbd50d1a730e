"""The calls of contracts that we make, as data and back: the signer reads what it signs by the same code. Pure.

Selectors are the first four bytes of the Keccak of each signature; arguments are encoded by eth-abi.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError

from cryptowatch.chains.ethereum.keccak import keccak

#: In place of a token: the chain's own coin.
OWN_COIN = bytes(20)
_UNLIMITED = 2**256 - 1


@dataclass(frozen=True, slots=True)
class PayTokens:
    token: bytes
    recipients: tuple[bytes, ...]
    amounts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PayNative:
    recipients: tuple[bytes, ...]
    amounts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Sweep:
    """`token` is OWN_COIN for the chain's own coin."""

    token: bytes
    accounts: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class TransferToken:
    recipient: bytes
    amount: int


@dataclass(frozen=True, slots=True)
class Approve:
    """An allowance without limit."""

    spender: bytes


Call = PayTokens | PayNative | Sweep | TransferToken | Approve

_PAY_TOKENS = ["address", "address[]", "uint256[]"]
_PAY_NATIVE = ["address[]", "uint256[]"]
_SWEEP = ["address", "address[]"]
_TWO = ["address", "uint256"]


def _selector(signature: str) -> bytes:
    return keccak(signature.encode())[:4]


_PAY_TOKENS_ID = _selector("payTokens(address,address[],uint256[])")
_PAY_NATIVE_ID = _selector("payNative(address[],uint256[])")
_SWEEP_ID = _selector("sweep(address,address[])")
_TRANSFER_ID = _selector("transfer(address,uint256)")
_APPROVE_ID = _selector("approve(address,uint256)")


def call_data(call: Call) -> bytes:
    match call:
        case PayTokens(token, recipients, amounts):
            return _PAY_TOKENS_ID + encode(_PAY_TOKENS, [token, recipients, amounts])
        case PayNative(recipients, amounts):
            return _PAY_NATIVE_ID + encode(_PAY_NATIVE, [recipients, amounts])
        case Sweep(token, accounts):
            return _SWEEP_ID + encode(_SWEEP, [token, accounts])
        case TransferToken(recipient, amount):
            return _TRANSFER_ID + encode(_TWO, [recipient, amount])
        case Approve(spender):
            return _APPROVE_ID + encode(_TWO, [spender, _UNLIMITED])


def read_call(data: bytes) -> Call | None:
    """What the data asks for; None for anything that `call_data` would not write, byte for byte."""
    try:
        call = _decoded(data[:4], data[4:])
    except (DecodingError, OverflowError, ValueError):
        return None
    return call if call is not None and call_data(call) == data else None


def _decoded(selector: bytes, arguments: bytes) -> Call | None:
    if selector == _PAY_TOKENS_ID:
        token, recipients, amounts = decode(_PAY_TOKENS, arguments)
        return PayTokens(_address(token), _addresses(recipients), tuple(amounts))
    if selector == _PAY_NATIVE_ID:
        recipients, amounts = decode(_PAY_NATIVE, arguments)
        return PayNative(_addresses(recipients), tuple(amounts))
    if selector == _SWEEP_ID:
        token, accounts = decode(_SWEEP, arguments)
        return Sweep(_address(token), _addresses(accounts))
    if selector == _TRANSFER_ID:
        recipient, amount = decode(_TWO, arguments)
        return TransferToken(_address(recipient), amount)
    if selector == _APPROVE_ID:
        spender, amount = decode(_TWO, arguments)
        return Approve(_address(spender)) if amount == _UNLIMITED else None
    return None


def _address(text: str) -> bytes:
    return bytes.fromhex(text[2:])


def _addresses(texts: Sequence[str]) -> tuple[bytes, ...]:
    return tuple(map(_address, texts))
