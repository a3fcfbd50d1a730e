"""Signatures, as the reference library of Standard Webhooks sees them."""

import os
import time

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from cryptowatch.outbound.signature import show_secret, signed_headers

OLD, NEW, OTHER = (show_secret(os.urandom(32)) for _ in range(3))
BODY = b'{"type":"deposit.credited"}'


def test_the_reference_library_accepts_what_we_sign() -> None:
    headers = signed_headers("evt_1", int(time.time()), BODY, [NEW])
    assert Webhook(NEW).verify(BODY, dict(headers)) == {"type": "deposit.credited"}


def test_while_a_secret_is_rotated_both_verify() -> None:
    headers = dict(signed_headers("evt_1", int(time.time()), BODY, [NEW, OLD]))
    assert Webhook(NEW).verify(BODY, headers) == Webhook(OLD).verify(BODY, headers)


@pytest.mark.parametrize("change", ["secret", "body", "id", "time", "late"])
def test_anything_changed_is_rejected(change: str) -> None:
    sent_at = int(time.time()) - (3600 if change == "late" else 0)
    headers = dict(signed_headers("evt_1", sent_at, BODY, [NEW]))
    if change == "id":
        headers["webhook-id"] = "evt_2"
    if change == "time":
        headers["webhook-timestamp"] = str(sent_at + 1)
    body = BODY + b" " if change == "body" else BODY
    with pytest.raises(WebhookVerificationError):
        Webhook(OTHER if change == "secret" else NEW).verify(body, headers)


def test_a_secret_has_its_size() -> None:
    with pytest.raises(ValueError, match="32"):
        show_secret(b"short")
