"""Signatures, as the reference library of Standard Webhooks sees them."""

import base64
import hmac
import os
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from cryptowatch.outbound.signature import SECRET_PREFIX, show_secret, signed_headers

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


@given(key=st.binary(min_size=1, max_size=200), body=st.binary(max_size=1000))
@example(key=bytes(range(64)), body=b"")
@example(key=bytes(range(65)), body=BODY)
def test_signatures_are_the_standard_librarys_hmac_whatever_the_secrets_size(key: bytes, body: bytes) -> None:
    secret = SECRET_PREFIX + base64.b64encode(key).decode()
    expected = base64.b64encode(hmac.digest(key, b"evt_1.7." + body, "sha256")).decode()
    for _ in range(2):
        assert signed_headers("evt_1", 7, body, [secret])["webhook-signature"] == f"v1,{expected}"


def test_a_secret_has_its_size() -> None:
    with pytest.raises(ValueError, match="32"):
        show_secret(b"short")
