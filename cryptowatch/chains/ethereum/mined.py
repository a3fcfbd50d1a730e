"""A mined transaction: from a node's words to its bytes, its hash and who signed it. Pure.

Called by `block`, which proves the bytes against the header's transactions root. The sender is in none of the bytes:
only the signature says it. It is recovered for every transaction, as a node that names another sender could hide the
use of one of our nonces, or invent one (some 60 microseconds each; nothing cheaper proves that a sender is not ours).

Texts of nodes are never looked at with their first two characters, the `0x`: what is hashed are the digits after it,
and so are what is read.
"""

from typing import NamedTuple

import msgspec
from coincurve import PublicKey

from cryptowatch.chains.ethereum import rlp
from cryptowatch.chains.ethereum.keccak import keccak
from cryptowatch.chains.ethereum.rlp import MalformedData

_LEGACY, _ACCESS_LIST, _FEE_MARKET, _BLOBS, _DELEGATIONS = range(5)
#: EIP-4844.
_GAS_PER_BLOB = 131_072
#: EIP-7702: what precedes the signed part of an authorization.
_AUTHORIZATION = "05"
_NONCE_MAX = (1 << 64) - 2
#: Half of the group's order: above it a signature is another one's mirror image (EIP-2).
_S_MAX = 0x7FFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFF_5D576E73_57A4501D_DFE92F46_681B20A0


class _Said(msgspec.Struct, rename="camel", gc=False):
    """Part of a node's answer; what we do not know in it is passed over."""


class Access(_Said):
    address: str
    storage_keys: list[str]


class Authorization(_Said):
    chain_id: str
    address: str
    nonce: str
    y_parity: str
    r: str
    s: str


class MinedTransaction(_Said):
    """A transaction as `eth_getBlockByHash` shows it."""

    hash: str
    nonce: str
    gas: str
    value: str
    input: str
    r: str
    s: str
    sender: str = msgspec.field(name="from")
    to: str | None = None
    type: str = "0x0"
    gas_price: str | None = None
    max_priority_fee_per_gas: str | None = None
    max_fee_per_gas: str | None = None
    max_fee_per_blob_gas: str | None = None
    chain_id: str | None = None
    v: str | None = None
    y_parity: str | None = None
    access_list: list[Access] | None = None
    blob_versioned_hashes: list[str] | None = None
    authorization_list: list[Authorization] | None = None


class Delegation(NamedTuple):
    """The account's signature to run a contract's code as its own, while its nonce is this one."""

    account: bytes
    nonce: int
    delegate: bytes


class Transaction(msgspec.Struct, frozen=True, gc=False):
    """What is proven of a mined transaction. Amounts in wei."""

    hash: bytes
    sender: bytes
    nonce: int
    #: None where it creates a contract.
    to: bytes | None
    value: int
    #: Hex digits, as most of it is never read.
    input: str
    price_max: int
    tip_max: int
    blob_gas: int = 0
    blob_price_max: int = 0
    #: The delegations that it carries and that are validly signed (EIP-7702). Each uses up the account's nonce, unless
    #: another transaction did so before: that, the block alone does not tell.
    authorizations: tuple[Delegation, ...] = ()

    def price(self, base_fee: int) -> int:
        """What it paid per gas (EIP-1559; before it, the price is its own cap and tip)."""
        return min(self.price_max, base_fee + self.tip_max)


def quantity(text: str | None) -> int:
    """A number as nodes write it. Raises MalformedData where there is none."""
    if text is None:
        raise MalformedData("a field is missing")
    try:
        return int(text[2:], 16)
    except ValueError:
        raise MalformedData("a number is none") from None


def address(text: str) -> bytes:
    """20 bytes. Raises MalformedData."""
    return rlp.raw(_digits(text, 20))


def prove(said: MinedTransaction) -> tuple[Transaction, str]:
    """(the transaction, its bytes in digits). Raises MalformedData unless hash and sender follow from the bytes."""
    kind = quantity(said.type)
    unsigned = _unsigned(said, kind)
    prefix = f"{kind:02x}" if kind else ""
    v, parity, signed = _parity(said, kind, unsigned)
    digits = prefix + rlp.listed(unsigned + v + rlp.scalar(said.r[2:]) + rlp.scalar(said.s[2:]))
    tx_hash = keccak(rlp.raw(digits))
    if tx_hash.hex() != said.hash[2:]:
        raise MalformedData("a transaction does not hash to its hash")
    sender = recover(prefix + rlp.listed(signed), said.r, said.s, parity)
    if sender is None or sender.hex() != said.sender[2:]:
        raise MalformedData("a transaction was not signed by its sender")
    price_max = quantity(said.max_fee_per_gas if kind >= _FEE_MARKET else said.gas_price)
    transaction = Transaction(
        hash=tx_hash,
        sender=sender,
        nonce=quantity(said.nonce),
        to=None if said.to is None else bytes.fromhex(said.to[2:]),
        value=quantity(said.value),
        input=said.input[2:],
        price_max=price_max,
        tip_max=quantity(said.max_priority_fee_per_gas) if kind >= _FEE_MARKET else price_max,
        blob_gas=_GAS_PER_BLOB * len(said.blob_versioned_hashes or ()) if kind == _BLOBS else 0,
        blob_price_max=quantity(said.max_fee_per_blob_gas) if kind == _BLOBS else 0,
        authorizations=_authorities(said) if kind == _DELEGATIONS else (),
    )
    return transaction, digits


def recover(signed: str, r: str, s: str, parity: int) -> bytes | None:
    """The account whose key signed the bytes (digits); None where no key can have made the signature."""
    try:
        signature = bytes.fromhex(r[2:].rjust(64, "0") + s[2:].rjust(64, "0")) + bytes([parity])
        key = PublicKey.from_signature_and_message(signature, keccak(rlp.raw(signed)), hasher=None)
    except ValueError:
        return None
    return keccak(key.format(compressed=False)[1:])[12:]


def _unsigned(said: MinedTransaction, kind: int) -> str:
    """The encoded fields before the signature, by type (EIP-155, 2930, 1559, 4844, 7702)."""
    to = "80" if said.to is None else "94" + _digits(said.to, 20)
    # From the gas on, all types are the same up to the call's data.
    middle = _scalar(said.gas) + to + _scalar(said.value) + rlp.string(said.input[2:])
    if kind == _LEGACY:
        return _scalar(said.nonce) + _scalar(said.gas_price) + middle
    fields = _scalar(said.chain_id) + _scalar(said.nonce)
    if kind == _ACCESS_LIST:
        fields += _scalar(said.gas_price)
    elif kind <= _DELEGATIONS:
        fields += _scalar(said.max_priority_fee_per_gas) + _scalar(said.max_fee_per_gas)
    else:
        raise MalformedData(f"a transaction of type {kind}, which this version does not know")
    fields += middle + _access_list(said.access_list or [])
    if kind == _BLOBS:
        hashes = "".join("a0" + _digits(text, 32) for text in said.blob_versioned_hashes or ())
        fields += _scalar(said.max_fee_per_blob_gas) + rlp.listed(hashes)
    elif kind == _DELEGATIONS:
        fields += rlp.listed("".join(rlp.listed(_authorization(a)) for a in said.authorization_list or ()))
    return fields


def _parity(said: MinedTransaction, kind: int, unsigned: str) -> tuple[str, int, str]:
    """(the encoded first number of the signature, which of two keys it means, what was signed).

    Since EIP-155 a transaction without type has the chain's id signed, too, and `v` holds both.
    """
    if kind != _LEGACY:
        text = said.y_parity or said.v
        return _scalar(text), quantity(text), unsigned
    v = quantity(said.v)
    if v < 35:
        return rlp.number(v), v - 27, unsigned
    chain_id, parity = divmod(v - 35, 2)
    return rlp.number(v), parity, unsigned + rlp.number(chain_id) + "8080"


def _access_list(entries: list[Access]) -> str:
    return rlp.listed(
        "".join(
            rlp.listed(
                "94"
                + _digits(entry.address, 20)
                + rlp.listed("".join("a0" + _digits(key, 32) for key in entry.storage_keys))
            )
            for entry in entries
        )
    )


def _delegation(said: Authorization) -> str:
    """What an authorization's authority signed."""
    return _scalar(said.chain_id) + "94" + _digits(said.address, 20) + _scalar(said.nonce)


def _authorization(said: Authorization) -> str:
    return _delegation(said) + _scalar(said.y_parity) + _scalar(said.r) + _scalar(said.s)


def _authorities(said: MinedTransaction) -> tuple[Delegation, ...]:
    """Those that the chain would take, as far as their signatures and chain tell (EIP-7702, steps 1 to 3)."""
    found = []
    for one in said.authorization_list or ():
        nonce, chain_id = quantity(one.nonce), quantity(one.chain_id)
        if chain_id not in (0, quantity(said.chain_id)) or nonce > _NONCE_MAX or quantity(one.s) > _S_MAX:
            continue
        signed = _AUTHORIZATION + rlp.listed(_delegation(one))
        authority = recover(signed, one.r, one.s, quantity(one.y_parity))
        if authority is not None:
            found.append(Delegation(authority, nonce, address(one.address)))
    return tuple(found)


def _scalar(text: str | None) -> str:
    if text is None:
        raise MalformedData("a field is missing")
    return rlp.scalar(text[2:])


def _digits(text: str, size: int) -> str:
    if len(text) != 2 + 2 * size:
        raise MalformedData(f"{size} bytes are some other number of bytes")
    return text[2:]
