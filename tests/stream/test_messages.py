"""An event as a message, and the server's answers, as pure rules."""

from datetime import UTC, datetime

import msgspec
import pytest

from cryptowatch.ledger.events import Event
from cryptowatch.settings.stream import Stream
from cryptowatch.stream.messages import OutOfTurn, RefusedMessage, message_of, read_answer

EVENT = Event(
    7, 9, "deposit.credited", "deposit", "dep_1", 3, None, '{"id": "dep_1"}', datetime(2026, 1, 2, tzinfo=UTC)
)


def test_a_message_is_taken_only_at_its_events_place() -> None:
    message = message_of(EVENT, "cryptowatch", "cryptowatch.events")
    assert message.subject == "cryptowatch.events.deposit.credited"
    assert dict(message.headers) == {
        "Nats-Msg-Id": "evt_0000000000000009",
        "Nats-Expected-Last-Sequence": "6",
        "Nats-Expected-Stream": "cryptowatch",
    }
    shown = msgspec.json.decode(message.body)
    assert (shown["id"], shown["sequence"], shown["data"]) == ("evt_0000000000000009", 7, {"id": "dep_1"})


@pytest.mark.parametrize(
    ("answer", "meaning"),
    [
        (b'{"stream":"cryptowatch","seq":7}', None),
        (b'{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 9"}}', OutOfTurn()),
        (b'{"stream":"cryptowatch","seq":4,"duplicate":true}', RefusedMessage("event 7 was stored as 4")),
        (
            b'{"error":{"code":503,"err_code":10077,"description":"maximum messages exceeded"}}',
            RefusedMessage("maximum messages exceeded (10077)"),
        ),
        (b"+OK", RefusedMessage("the server's answer is not JetStream's")),
        (b"\xff", RefusedMessage("the server's answer is not JetStream's")),
    ],
)
def test_only_the_events_own_place_means_that_it_is_stored(
    answer: bytes, meaning: OutOfTurn | RefusedMessage | None
) -> None:
    assert read_answer(answer, EVENT) == meaning


@pytest.mark.parametrize(
    "url", ["nats://a:4222", "tls://a.b:4222,tls://c.d:4222", "nats://10.0.0.1:4222", "tls://[::1]:4222"]
)
def test_servers_are_urls_with_a_port(url: str) -> None:
    assert Stream(url=url).url == url


@pytest.mark.parametrize("url", ["nats://user:word@a:4222", "http://a:80", "nats://a", "nats://a:4222,", ""])
def test_a_url_holds_no_password_and_nothing_else(url: str) -> None:
    with pytest.raises(ValueError, match="url"):
        Stream(url=url)
