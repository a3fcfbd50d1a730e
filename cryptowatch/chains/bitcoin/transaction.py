"""Bitcoin transactions as values: build, serialise, read back, and the hashes that signatures commit to.

Called by `sending` (plans and their JSON form), by `signing.bitcoin` (signature hashes) and by the adapter
(reading). Pure. Keeps P3 and P4: a segwit transaction's id does not depend on its signatures, so the id can
be committed before anything is signed, and the same plan always gives the same bytes.

Hashes are bytes in the order in which explorers show them; amounts are satoshi.
"""

import hashlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec

from cryptowatch.chains.bitcoin.sizes import vsize_of
from cryptowatch.money import BaseUnits

#: BIP125: replaceable, and below 0xfffffffe no relative lock (BIP68) and locktime stays in force.
SEQUENCE_REPLACEABLE = 0xFFFFFFFD
VERSION = 2
SATOSHI_MAX = 21_000_000 * 100_000_000
SCRIPT_BYTES_MAX = 10_000
#: Consensus: no block, hence no transaction, is heavier.
TRANSACTION_BYTES_MAX = 4_000_000

_SIGHASH_ALL = 1
_P2WPKH_PREFIX = b"\x00\x14"
_P2TR_PREFIX = b"\x51\x20"

Witness = Sequence[bytes]


class InvalidTransaction(ValueError):
    """Bytes or JSON that are not a transaction of this system's kind; says why."""


@dataclass(frozen=True, slots=True)
class TxInput:
    """A coin to spend: where it is, and the amount and script that its signature commits to."""

    prev_hash: bytes
    prev_index: int
    amount: BaseUnits
    script: bytes
    sequence: int = SEQUENCE_REPLACEABLE

    @property
    def outpoint(self) -> bytes:
        """The resource it uses, as `chains.port.Spend` names it: hash as shown + index, big endian."""
        return self.prev_hash + self.prev_index.to_bytes(4, "big")


@dataclass(frozen=True, slots=True)
class TxOutput:
    script: bytes
    amount: BaseUnits


@dataclass(frozen=True, slots=True)
class UnsignedTransaction:
    """What is to be signed. All inputs are native segwit, so their scriptSigs are empty."""

    inputs: tuple[TxInput, ...]
    outputs: tuple[TxOutput, ...]
    locktime: int = 0
    version: int = VERSION

    @property
    def fee(self) -> int:
        """Satoshi that go to the miner; negative for a transaction that could never be valid."""
        return sum(coin.amount for coin in self.inputs) - sum(output.amount for output in self.outputs)

    @property
    def txid(self) -> bytes:
        """Final before signing: signatures of segwit inputs are not part of it (BIP141)."""
        return _double_sha256(serialise(self))[::-1]


@dataclass(frozen=True, slots=True)
class ReadInput:
    prev_hash: bytes
    prev_index: int
    script_sig: bytes
    sequence: int
    witness: tuple[bytes, ...]

    @property
    def outpoint(self) -> bytes:
        return self.prev_hash + self.prev_index.to_bytes(4, "big")


@dataclass(frozen=True, slots=True)
class ReadTransaction:
    """A transaction as it was read from bytes: of anyone, of any type."""

    txid: bytes
    wtxid: bytes
    inputs: tuple[ReadInput, ...]
    outputs: tuple[TxOutput, ...]
    locktime: int
    version: int
    #: BIP141: three times the size without witness plus the full size.
    weight: int

    @property
    def vsize(self) -> int:
        return vsize_of(self.weight)


def compact_size(number: int) -> bytes:
    """Bitcoin's variable length integer."""
    if number < 0xFD:
        return number.to_bytes(1, "little")
    if number <= 0xFFFF:
        return b"\xfd" + number.to_bytes(2, "little")
    if number <= 0xFFFFFFFF:
        return b"\xfe" + number.to_bytes(4, "little")
    return b"\xff" + number.to_bytes(8, "little")


def serialise(transaction: UnsignedTransaction, witnesses: Sequence[Witness] | None = None) -> bytes:
    """The wire form: without witness for the txid, or with one witness per input (BIP144)."""
    body = (
        compact_size(len(transaction.inputs))
        + b"".join(
            _wire_outpoint(coin) + b"\x00" + struct.pack("<I", coin.sequence) for coin in transaction.inputs
        )
        + compact_size(len(transaction.outputs))
        + b"".join(map(_wire_output, transaction.outputs))
    )
    version, locktime = struct.pack("<i", transaction.version), struct.pack("<I", transaction.locktime)
    if witnesses is None:
        return version + body + locktime
    if len(witnesses) != len(transaction.inputs):
        raise InvalidTransaction("one witness per input is needed")
    return version + b"\x00\x01" + body + b"".join(map(_wire_witness, witnesses)) + locktime


def weight_of(transaction: UnsignedTransaction, witnesses: Sequence[Witness]) -> int:
    """Weight units with these witnesses (BIP141)."""
    return 3 * len(serialise(transaction)) + len(serialise(transaction, witnesses))


def is_p2wpkh(script: bytes) -> bool:
    return len(script) == 22 and script.startswith(_P2WPKH_PREFIX)


def is_p2tr(script: bytes) -> bool:
    return len(script) == 34 and script.startswith(_P2TR_PREFIX)


class SignatureHashes:
    """The 32 bytes to sign for each input; what all inputs share is hashed once.

    Without that, hashing would grow with the square of the inputs. Assumes the key path and the whole
    transaction: SIGHASH_ALL for P2WPKH (BIP143), SIGHASH_DEFAULT without annex for P2TR (BIP341).
    """

    def __init__(self, transaction: UnsignedTransaction) -> None:
        inputs = transaction.inputs
        self._inputs = inputs
        version, locktime = struct.pack("<i", transaction.version), struct.pack("<I", transaction.locktime)
        prevouts = _sha256(b"".join(map(_wire_outpoint, inputs)))
        sequences = _sha256(b"".join(struct.pack("<I", coin.sequence) for coin in inputs))
        outputs = _sha256(b"".join(map(_wire_output, transaction.outputs)))
        # BIP143 hashes twice what BIP341 hashes once.
        self._segwit_start = hashlib.sha256(version + _sha256(prevouts) + _sha256(sequences))
        self._segwit_end = _sha256(outputs) + locktime + struct.pack("<I", _SIGHASH_ALL)
        amounts = _sha256(b"".join(struct.pack("<q", coin.amount) for coin in inputs))
        scripts = _sha256(b"".join(compact_size(len(coin.script)) + coin.script for coin in inputs))
        tag = _sha256(b"TapSighash")
        self._taproot_start = hashlib.sha256(
            tag
            + tag
            + b"\x00"  # epoch
            + b"\x00"  # SIGHASH_DEFAULT
            + version
            + locktime
            + prevouts
            + amounts
            + scripts
            + sequences
            + outputs
            + b"\x00"
        )  # spend type: key path, no annex

    def of(self, index: int) -> bytes:
        """For the input at the index. Raises InvalidTransaction if its script is neither P2WPKH nor P2TR."""
        coin = self._inputs[index]
        if is_p2wpkh(coin.script):
            return self._bip143(coin)
        if is_p2tr(coin.script):
            state = self._taproot_start.copy()
            state.update(struct.pack("<I", index))
            return state.digest()
        raise InvalidTransaction(f"input {index} is neither P2WPKH nor P2TR")

    def _bip143(self, coin: TxInput) -> bytes:
        state = self._segwit_start.copy()
        # The script code of P2WPKH is the P2PKH script of the same key hash, with its length before it.
        state.update(
            _wire_outpoint(coin)
            + b"\x19\x76\xa9\x14"
            + coin.script[2:]
            + b"\x88\xac"
            + struct.pack("<qI", coin.amount, coin.sequence)
            + self._segwit_end
        )
        return _sha256(state.digest())


def read_transaction(raw: bytes) -> ReadTransaction:
    """Read exactly one transaction in its wire form (BIP144). Raises InvalidTransaction."""
    if len(raw) > TRANSACTION_BYTES_MAX:
        raise InvalidTransaction("larger than a block")
    reader = _Reader(raw)
    version = reader.take_int("<i", 4)
    segwit = raw[4:6] == b"\x00\x01"
    if segwit:
        reader.position += 2
    body_start = reader.position
    inputs = [reader.take_input() for _ in range(reader.take_count(41))]
    outputs = tuple(reader.take_output() for _ in range(reader.take_count(9)))
    body = raw[body_start : reader.position]
    witnesses: list[tuple[bytes, ...]] = [()] * len(inputs)
    if segwit:
        witnesses = [tuple(reader.take_bytes() for _ in range(reader.take_count(1))) for _ in inputs]
        if not any(witnesses):
            raise InvalidTransaction("a witness marker without a witness")
    locktime = reader.take_int("<I", 4)
    if reader.position != len(raw):
        raise InvalidTransaction("bytes follow the transaction")
    if not inputs:
        raise InvalidTransaction("no input")
    stripped = raw[:4] + body + raw[-4:]
    return ReadTransaction(
        txid=_double_sha256(stripped)[::-1],
        wtxid=_double_sha256(raw)[::-1],
        inputs=tuple(ReadInput(*coin, witness) for coin, witness in zip(inputs, witnesses, strict=True)),
        outputs=outputs,
        locktime=locktime,
        version=version,
        weight=3 * len(stripped) + len(raw),
    )


class _Reader:
    """A cursor over wire bytes that never reads past their end."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self.position = 0

    def take(self, count: int) -> bytes:
        end = self.position + count
        if end > len(self._raw):
            raise InvalidTransaction("it ends too early")
        piece = self._raw[self.position : end]
        self.position = end
        return piece

    def take_int(self, layout: str, count: int) -> int:
        number: int = struct.unpack(layout, self.take(count))[0]
        return number

    def take_count(self, item_bytes_min: int) -> int:
        """A length; refused at once when so many items could not fit into what is left."""
        first = self.take(1)[0]
        width = {0xFD: 2, 0xFE: 4, 0xFF: 8}.get(first)
        count = first if width is None else int.from_bytes(self.take(width), "little")
        if count * item_bytes_min > len(self._raw) - self.position:
            raise InvalidTransaction("it ends too early")
        return count

    def take_bytes(self) -> bytes:
        return self.take(self.take_count(1))

    def take_input(self) -> tuple[bytes, int, bytes, int]:
        return self.take(32)[::-1], self.take_int("<I", 4), self.take_bytes(), self.take_int("<I", 4)

    def take_output(self) -> TxOutput:
        amount = BaseUnits(self.take_int("<q", 8))
        return TxOutput(script=self.take_bytes(), amount=amount)


_Amount = Annotated[int, msgspec.Meta(ge=0, le=SATOSHI_MAX)]
_Uint32 = Annotated[int, msgspec.Meta(ge=0, le=0xFFFFFFFF)]
_Hash = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
_Script = Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{2})*\Z", max_length=2 * SCRIPT_BYTES_MAX)]


class _InputJson(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    hash: _Hash
    index: _Uint32
    amount: _Amount
    script: _Script
    sequence: _Uint32


class _OutputJson(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    script: _Script
    amount: _Amount


class _TransactionJson(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: Annotated[int, msgspec.Meta(ge=1, le=2)]
    inputs: Annotated[list[_InputJson], msgspec.Meta(min_length=1)]
    outputs: Annotated[list[_OutputJson], msgspec.Meta(min_length=1)]
    locktime: _Uint32


def to_json(transaction: UnsignedTransaction) -> dict[str, object]:
    """The stable JSON form (plan in Postgres, signer's wire): hex as shown, satoshi as integers."""
    return {
        "version": transaction.version,
        "inputs": [
            {
                "hash": coin.prev_hash.hex(),
                "index": coin.prev_index,
                "amount": int(coin.amount),
                "script": coin.script.hex(),
                "sequence": coin.sequence,
            }
            for coin in transaction.inputs
        ],
        "outputs": [
            {"script": output.script.hex(), "amount": int(output.amount)} for output in transaction.outputs
        ],
        "locktime": transaction.locktime,
    }


def from_json(document: Mapping[str, object]) -> UnsignedTransaction:
    """The inverse of `to_json`. Raises InvalidTransaction that names the wrong part."""
    try:
        plan = msgspec.convert(document, _TransactionJson)
    except msgspec.ValidationError as problem:
        raise InvalidTransaction(str(problem)) from problem
    inputs = tuple(
        TxInput(
            bytes.fromhex(coin.hash),
            coin.index,
            BaseUnits(coin.amount),
            bytes.fromhex(coin.script),
            coin.sequence,
        )
        for coin in plan.inputs
    )
    if len({coin.outpoint for coin in inputs}) != len(inputs):
        raise InvalidTransaction("two inputs spend the same coin")
    outputs = tuple(
        TxOutput(bytes.fromhex(output.script), BaseUnits(output.amount)) for output in plan.outputs
    )
    return UnsignedTransaction(inputs, outputs, plan.locktime, plan.version)


def _wire_outpoint(coin: TxInput) -> bytes:
    return coin.prev_hash[::-1] + struct.pack("<I", coin.prev_index)


def _wire_output(output: TxOutput) -> bytes:
    return struct.pack("<q", output.amount) + compact_size(len(output.script)) + output.script


def _wire_witness(witness: Witness) -> bytes:
    return compact_size(len(witness)) + b"".join(compact_size(len(item)) + item for item in witness)


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _double_sha256(data: bytes) -> bytes:
    return _sha256(_sha256(data))
