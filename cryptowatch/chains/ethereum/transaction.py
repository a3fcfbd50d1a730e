"""Our own transactions as bytes: what is signed, and what is sent (EIP-1559, and EIP-7702 with authorizations). Pure.

Built by `payments`, signed by the signer, read back by its client: what comes back must be what was asked for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec

from cryptowatch.chains.ethereum import rlp
from cryptowatch.chains.ethereum.keccak import keccak

_DYNAMIC_FEE, _SET_CODE = 0x02, 0x04
#: What precedes a signed authorization (EIP-7702, MAGIC).
_AUTHORIZATION_MAGIC = b"\x05"
_EMPTY_LIST = rlp.listed("")

_Quantity = Annotated[str, msgspec.Meta(pattern=r"^0x(0|[1-9a-f][0-9a-f]{0,63})$")]
_Bytes = Annotated[str, msgspec.Meta(pattern=r"^0x([0-9a-f]{2})*$", max_length=131_072)]
_Address = Annotated[str, msgspec.Meta(pattern=r"^0x[0-9a-f]{40}$")]


class InvalidTransaction(ValueError):
    """A document or bytes that are no transaction of ours."""


@dataclass(frozen=True, slots=True)
class Authorization:
    """An account lets a contract's code act as its own. Valid while the account's nonce is this one."""

    delegate: bytes
    nonce: int = 0


@dataclass(frozen=True, slots=True)
class UnsignedTransaction:
    """Fees in wei per gas; `to` is 20 bytes. With authorizations it is of type 4."""

    chain_id: int
    nonce: int
    max_fee: int
    tip: int
    gas: int
    to: bytes
    value: int
    data: bytes = b""
    authorizations: tuple[Authorization, ...] = ()

    @property
    def fee_max(self) -> int:
        """The most that the network can take, in wei."""
        return self.gas * self.max_fee


@dataclass(frozen=True, slots=True)
class Signature:
    """An ECDSA signature of secp256k1 whose `s` is in the lower half (EIP-2)."""

    y_parity: int
    r: int
    s: int


def authorization_hash(chain_id: int, authorization: Authorization) -> bytes:
    """What the delegating account signs."""
    fields = [rlp.number(chain_id), rlp.string(authorization.delegate.hex()), rlp.number(authorization.nonce)]
    return keccak(_AUTHORIZATION_MAGIC + rlp.raw(rlp.listed("".join(fields))))


def signing_hash(transaction: UnsignedTransaction, authorized: Sequence[Signature]) -> bytes:
    """What the sender signs; `authorized` are the signatures of its authorizations, in order."""
    return keccak(unsigned_bytes(transaction, authorized))


def unsigned_bytes(transaction: UnsignedTransaction, authorized: Sequence[Signature] = ()) -> bytes:
    """What is hashed for the sender's signature: the transaction without it."""
    return _typed(transaction, _fields(transaction, authorized))


def serialise(
    transaction: UnsignedTransaction, authorized: Sequence[Signature], signature: Signature
) -> bytes:
    """The signed transaction in its wire form; its hash is the Keccak of it."""
    return _typed(transaction, _fields(transaction, authorized) + _signature(signature))


def _typed(transaction: UnsignedTransaction, fields: str) -> bytes:
    kind = _SET_CODE if transaction.authorizations else _DYNAMIC_FEE
    return bytes([kind]) + rlp.raw(rlp.listed(fields))


def _fields(transaction: UnsignedTransaction, authorized: Sequence[Signature]) -> str:
    t = transaction
    numbers = (t.chain_id, t.nonce, t.tip, t.max_fee, t.gas)
    fields = "".join(map(rlp.number, numbers))
    fields += rlp.string(t.to.hex()) + rlp.number(t.value) + rlp.string(t.data.hex()) + _EMPTY_LIST
    if t.authorizations:
        fields += rlp.listed(
            "".join(
                rlp.listed(
                    rlp.number(t.chain_id)
                    + rlp.string(given.delegate.hex())
                    + rlp.number(given.nonce)
                    + _signature(signature)
                )
                for given, signature in zip(t.authorizations, authorized, strict=True)
            )
        )
    return fields


def _signature(signature: Signature) -> str:
    return rlp.number(signature.y_parity) + rlp.number(signature.r) + rlp.number(signature.s)


class _AuthorizationJson(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    delegate: _Address
    nonce: _Quantity


class _TransactionJson(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    chain_id: _Quantity
    nonce: _Quantity
    max_fee: _Quantity
    tip: _Quantity
    gas: _Quantity
    to: _Address
    value: _Quantity
    data: _Bytes
    authorizations: Annotated[list[_AuthorizationJson], msgspec.Meta(max_length=200)]


def to_json(transaction: UnsignedTransaction) -> dict[str, object]:
    """For plans and for the signer: numbers and bytes as hex."""
    t = transaction
    return {
        "chain_id": hex(t.chain_id),
        "nonce": hex(t.nonce),
        "max_fee": hex(t.max_fee),
        "tip": hex(t.tip),
        "gas": hex(t.gas),
        "to": "0x" + t.to.hex(),
        "value": hex(t.value),
        "data": "0x" + t.data.hex(),
        "authorizations": [
            {"delegate": "0x" + given.delegate.hex(), "nonce": hex(given.nonce)} for given in t.authorizations
        ],
    }


def from_json(document: Mapping[str, object]) -> UnsignedTransaction:
    """Raises InvalidTransaction that names the wrong part."""
    try:
        read = msgspec.convert(document, _TransactionJson)
    except msgspec.ValidationError as problem:
        raise InvalidTransaction(str(problem)) from problem
    return UnsignedTransaction(
        chain_id=int(read.chain_id, 16),
        nonce=int(read.nonce, 16),
        max_fee=int(read.max_fee, 16),
        tip=int(read.tip, 16),
        gas=int(read.gas, 16),
        to=bytes.fromhex(read.to[2:]),
        value=int(read.value, 16),
        data=bytes.fromhex(read.data[2:]),
        authorizations=tuple(
            Authorization(bytes.fromhex(given.delegate[2:]), int(given.nonce, 16))
            for given in read.authorizations
        ),
    )
