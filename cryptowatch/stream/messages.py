"""An event as a message of the stream, and what the server answers to it. Pure.

Called by `jetstream`. A message's place in the stream is its event's `sequence`: the server takes the message for place
n only while its last one is n - 1. So nothing can be lost, come twice or change places, whoever publishes again
what, and however long after.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from cryptowatch.ledger.events import Event
from cryptowatch.ledger.payload import event_id, event_view

ID_HEADER = "Nats-Msg-Id"
_LAST_HEADER = "Nats-Expected-Last-Sequence"
_STREAM_HEADER = "Nats-Expected-Stream"
#: The server's own number for "wrong last sequence".
_WRONG_LAST_SEQUENCE = 10071


@dataclass(frozen=True, slots=True)
class Message:
    subject: str
    headers: Mapping[str, str]
    body: bytes


class OutOfTurn(msgspec.Struct, frozen=True):
    """The stream does not end where this message would go on."""


class RefusedMessage(msgspec.Struct, frozen=True):
    reason: str


class _Error(msgspec.Struct, frozen=True):
    err_code: int = 0
    description: str = ""


class _Answer(msgspec.Struct, frozen=True):
    stream: str = ""
    seq: int = 0
    error: _Error | None = None


def message_of(event: Event, stream: str, subject_prefix: str) -> Message:
    """The body is that of webhooks and of `GET /v1/events`, byte for byte."""
    return Message(
        subject=f"{subject_prefix}.{event.type}",
        headers={
            ID_HEADER: event_id(event.id),
            _LAST_HEADER: str(event.position - 1),
            _STREAM_HEADER: stream,
        },
        body=msgspec.json.encode(event_view(event)),
    )


def read_answer(answer: bytes, event: Event) -> OutOfTurn | RefusedMessage | None:
    """None: the event is stored at its place, and so are all before it."""
    try:
        found = msgspec.json.decode(answer, type=_Answer)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return RefusedMessage("the server's answer is not JetStream's")
    if found.error is not None:
        if found.error.err_code == _WRONG_LAST_SEQUENCE:
            return OutOfTurn()
        return RefusedMessage(f"{found.error.description} ({found.error.err_code})")
    if found.seq != event.position:
        return RefusedMessage(f"event {event.position} was stored as {found.seq}")
    return None
