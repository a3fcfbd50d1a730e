"""What goes over the signer's socket: frames of a 4-byte big-endian length and one JSON document.

Used by `client` and `server` only. Keeps P10: a frame's length is checked before its body is read.
"""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

LENGTH_BYTES = 4
#: A decoder's complaint may quote what it was given.
_PROBLEM_CHARACTERS_MAX = 200

Scheme = Literal["bip44", "bip84", "bip86", "listed"]
_Index = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class MalformedMessage(ValueError):
    """The other side's bytes are not a message of this protocol."""


class KeyPath(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where below the chain's account a key is: m/44'|84'|86'/coin'/0'/branch/index. Branch 1 is the wallet's own.

    `listed`: the key that the settings name at this place, derived from nothing; of branch 1 only.
    """

    scheme: Scheme
    branch: Literal[0, 1]
    index: _Index


class SignBitcoin(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    tag_field="method",
    tag="sign_bitcoin",
):
    """Ask for signatures. Asking again for the same transaction gives the same bytes and is charged once."""

    chain: _Name
    #: Which on-chain transaction this is an attempt of: attempts must all conflict with each other (P3).
    lineage_id: _Name
    #: `chains.bitcoin.transaction.to_json` of the transaction.
    transaction: dict[str, object]
    #: One for each input, in order.
    input_paths: list[KeyPath]
    #: Output index -> the key that the output is claimed to return to. Every other output counts as foreign.
    change_paths: dict[int, KeyPath]
    #: Output index -> the index of the cold wallet's address that it is claimed to pay.
    cold_indexes: Annotated[dict[int, _Index], msgspec.Meta(max_length=16)] = {}


class SignEthereum(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    tag_field="method",
    tag="sign_ethereum",
):
    """Ask for signatures. Asking again for the same transaction gives the same bytes and is charged once."""

    chain: _Name
    lineage_id: _Name
    #: `chains.ethereum.transaction.to_json` of the transaction.
    transaction: dict[str, object]
    #: The sender's key.
    key_path: KeyPath
    #: The keys of those that authorize, in the order of the authorizations.
    authorized_by: Annotated[list[KeyPath], msgspec.Meta(max_length=200)]


class Status(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="method", tag="status"):
    """Ask for the counters; also the ping."""


class Signed(msgspec.Struct, frozen=True, tag_field="answer", tag="signed"):
    raw_hex: str


class Refused(msgspec.Struct, frozen=True, tag_field="answer", tag="refused"):
    """The signer says no. `reason` is a stable code (`signing.policy.Reason`), `detail` for people."""

    reason: str
    detail: str


class Busy(msgspec.Struct, frozen=True, tag_field="answer", tag="busy"):
    """More connections than the signer takes; try again later."""


class Unavailable(msgspec.Struct, frozen=True, tag_field="answer", tag="unavailable"):
    """The signer does not reach its keys; try again later."""

    detail: str


class SignerStatus(msgspec.Struct, frozen=True, tag_field="answer", tag="status"):
    """The signer's counters since it started, and where its log is."""

    uptime_s: float
    requests: int
    signed: int
    #: Reason code -> how often.
    refusals: Mapping[str, int]
    log_entries: int
    log_head: str
    #: Chain -> asset -> what left within the last hour, in base units as text.
    hourly_amounts: Mapping[str, Mapping[str, str]]


Request = SignBitcoin | SignEthereum | Status
Answer = Signed | Refused | Busy | Unavailable | SignerStatus

_ENCODER = msgspec.json.Encoder()
_REQUESTS: msgspec.json.Decoder[Request] = msgspec.json.Decoder(Request)
_ANSWERS: msgspec.json.Decoder[Answer] = msgspec.json.Decoder(Answer)


def frame(message: Request | Answer) -> bytes:
    body = _ENCODER.encode(message)
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def read_request(body: bytes) -> Request:
    """Raises MalformedMessage that names the wrong part."""
    try:
        return _REQUESTS.decode(body)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as problem:
        raise MalformedMessage(str(problem)[:_PROBLEM_CHARACTERS_MAX]) from problem


def read_answer(body: bytes) -> Answer:
    """Raises MalformedMessage that names the wrong part."""
    try:
        return _ANSWERS.decode(body)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as problem:
        raise MalformedMessage(str(problem)[:_PROBLEM_CHARACTERS_MAX]) from problem


async def receive(stream: asyncio.StreamReader, bytes_max: int) -> bytes | None:
    """The next body; None when the other side closed between frames.

    Raises MalformedMessage when the frame announces more than `bytes_max` or ends in the middle.
    """
    try:
        announced = await stream.readexactly(LENGTH_BYTES)
    except asyncio.IncompleteReadError as end:
        if not end.partial:
            return None
        raise MalformedMessage("the connection ended within a frame") from end
    length = int.from_bytes(announced, "big")
    if length > bytes_max:
        raise MalformedMessage(f"a message of {length} bytes is over the limit of {bytes_max}")
    try:
        return await stream.readexactly(length)
    except asyncio.IncompleteReadError as end:
        raise MalformedMessage("the connection ended within a frame") from end
