"""What a cold account signs, and whether what came back is it. Pure.

Implements `plans.ColdFormat` for `treasury` and the API: a transaction of type 2 (EIP-1559) as JSON and as bytes.
"""

import msgspec

from cryptowatch.chains.ethereum.address import address_of
from cryptowatch.chains.ethereum.keccak import keccak
from cryptowatch.chains.ethereum.payments import EthereumPlan
from cryptowatch.chains.ethereum.recovery import is_signed_by
from cryptowatch.chains.ethereum.transaction import (
    InvalidTransaction,
    UnsignedTransaction,
    from_json,
    to_json,
    unsigned_bytes,
)
from cryptowatch.chains.plans import ColdFormatName, Plan, WrongSignature


class UnsignedDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`unsigned_hex` is the same transaction as other programs take it: its type and the RLP of its fields."""

    account: str
    transaction: dict[str, object]
    unsigned_hex: str


class ColdTransaction:
    """The format, without anything to configure."""

    @property
    def name(self) -> ColdFormatName:
        return "eip1559"

    def write(self, plan: Plan, parents: object) -> str:
        assert isinstance(plan, EthereumPlan)
        t = plan.transaction
        document = UnsignedDocument(address_of(plan.account), to_json(t), "0x" + unsigned_bytes(t).hex())
        return msgspec.json.encode(document).decode()

    def read_signed(self, plan: Plan, text: str) -> tuple[bytes, bytes]:
        """From the signed transaction in hex, byte for byte the plan's. Raises WrongSignature."""
        assert isinstance(plan, EthereumPlan)
        try:
            raw = bytes.fromhex(text.strip().removeprefix("0x"))
        except ValueError:
            raise WrongSignature("not a transaction in hex") from None
        if not is_signed_by(raw, plan.transaction, plan.account, []):
            raise WrongSignature("another transaction, or not signed by the account that was to sign")
        return keccak(raw), raw


class CallDocument(msgspec.Struct, frozen=True):
    """What the owners of a contract, such as a Safe, are to make it do. `value` in wei."""

    account: str
    to: str
    value: str
    data: str
    operation: int = 0


def call_of(plan: Plan) -> str:
    """The plan as a call of the contract that holds the money, instead of as a transaction of its account."""
    assert isinstance(plan, EthereumPlan)
    t = plan.transaction
    document = CallDocument(address_of(plan.account), address_of(t.to), str(t.value), "0x" + t.data.hex())
    return msgspec.json.encode(document).decode()


def read_unsigned(text: str) -> tuple[str, UnsignedTransaction]:
    """(the account that is to sign, what) of what `ColdTransaction.write` wrote. Raises InvalidTransaction."""
    try:
        document = msgspec.json.decode(text, type=UnsignedDocument)
    except (msgspec.DecodeError, RecursionError) as problem:
        raise InvalidTransaction("not a transaction to be signed") from problem
    transaction = from_json(document.transaction)
    if document.unsigned_hex != "0x" + unsigned_bytes(transaction).hex():
        raise InvalidTransaction("its two forms differ")
    return document.account, transaction
