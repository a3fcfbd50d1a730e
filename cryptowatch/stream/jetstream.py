"""One connection to the NATS server that holds the stream. Opened by `worker`, and anew after every failure.

It never reconnects by itself: what the library had buffered would then be sent at a time that nobody knows of. Whatever
goes wrong is StreamUnavailable. Keeps P10: at most one portion of the feed is under way, and every wait has a bound.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import nats
import nats.errors
import nats.js.errors
import nkeys
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, StorageType, StreamConfig

from cryptowatch.errors import StreamUnavailable
from cryptowatch.ledger.events import Event
from cryptowatch.settings.stream import Stream
from cryptowatch.stream.messages import ID_HEADER, Message, OutOfTurn, RefusedMessage, message_of, read_answer

T = TypeVar("T")

#: The server forgets ids after that; our order does not rest on them.
_DUPLICATES_S = 120.0
_DAY_S = 86_400.0
#: What the library raises; what a credentials file that is missing or broken makes it raise included.
_FAILURES = (nats.errors.Error, nats.js.errors.Error, nkeys.NkeysError, OSError, TimeoutError, ValueError)


@dataclass(frozen=True, slots=True)
class Last:
    """Where the stream ends: 0 when it is new. No id: the message is beyond what the stream keeps."""

    sequence: int
    message_id: str | None


class JetStream:
    def __init__(self, client: Client, settings: Stream) -> None:
        self._client, self._settings = client, settings
        self._context: JetStreamContext = client.jetstream(timeout=settings.timeout_s)

    @classmethod
    async def open(cls, settings: Stream) -> Self:
        assert settings.url is not None
        client = await _named(
            nats.connect(
                servers=settings.url.split(","),
                name="cryptowatch",
                allow_reconnect=False,
                # Of each server, one more try than that; none would mean without end.
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                connect_timeout=settings.timeout_s,
                error_cb=_told_by_the_call,
                tls=settings.tls(),
                user_credentials=settings.credentials,
            ),
            settings.timeout_s,
        )
        if "tls://" in settings.url and not client._server_info.get("tls_required"):
            # The library then goes on in the clear: whoever answers in the server's name could read everything.
            await client.close()
            raise StreamUnavailable("the event stream's server does not speak TLS, as its url asks")
        return cls(client, settings)

    @property
    def is_open(self) -> bool:
        return self._client.is_connected

    async def close(self) -> None:
        await self._client.close()

    async def last(self) -> Last:
        """Makes the stream first where there is none."""
        name = self._settings.name
        try:
            info = await self._asked(self._context.stream_info(name))
        except NoSuchThing:
            info = await self._asked(self._context.add_stream(self._config()))
        last = info.state.last_seq
        try:
            message = (
                await self._asked(self._context.get_msg(name, seq=last)) if info.state.messages else None
            )
        except NoSuchThing:
            message = None
        return Last(last, None if message is None else (message.headers or {}).get(ID_HEADER, ""))

    async def publish(self, events: Sequence[Event]) -> OutOfTurn | None:
        """The events, without gaps, in order. None: all of them are stored.

        Each is taken only after the one before it, so the answer to the last one speaks for all.
        """
        messages = [message_of(event, self._settings.name, self._settings.subject_prefix) for event in events]
        found = read_answer(await self._asked(self._send(messages)), events[-1])
        if isinstance(found, RefusedMessage):
            raise StreamUnavailable(f"stream {self._settings.name}: {found.reason}")
        return found

    async def _send(self, messages: Sequence[Message]) -> bytes:
        """The answer to the last one."""
        for message in messages[:-1]:
            await self._client.publish(message.subject, message.body, headers={**message.headers})
        last = messages[-1]
        answer = await self._client.request(
            last.subject, last.body, headers={**last.headers}, timeout=self._settings.timeout_s
        )
        return answer.data

    async def _asked(self, call: Coroutine[Any, Any, T]) -> T:
        return await _named(call, self._settings.timeout_s)

    def _config(self) -> StreamConfig:
        return StreamConfig(
            name=self._settings.name,
            subjects=[f"{self._settings.subject_prefix}.>"],
            storage=StorageType.FILE,
            num_replicas=self._settings.replicas,
            max_age=self._settings.max_age_days * _DAY_S,
            discard=DiscardPolicy.OLD,
            duplicate_window=_DUPLICATES_S,
            deny_delete=True,
        )


class NoSuchThing(StreamUnavailable):
    """The server has no such stream or message."""


async def _named(call: Coroutine[Any, Any, T], timeout_s: float) -> T:
    """The library's many errors as ours; none of their texts holds more than the server's own words.

    In a task of its own: the library rests on asyncio.wait_for, which in Python 3.11 may swallow a cancellation, and
    the daemon would not end.
    """
    task = asyncio.create_task(call)
    try:
        await asyncio.wait([task], timeout=timeout_s)
    finally:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    try:
        if task.cancelled():
            raise TimeoutError(f"no answer within {timeout_s:g} s")
        return task.result()
    except nats.js.errors.NotFoundError as problem:
        raise NoSuchThing("the event stream's server has no such thing") from problem
    except _FAILURES as problem:
        raise StreamUnavailable(f"the event stream is away: {type(problem).__name__}: {problem}") from problem


async def _told_by_the_call(_: Exception) -> None:
    """The library tells every problem here too; the call that met it raises."""
