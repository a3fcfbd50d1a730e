"""Logs are one object per line, and no secret reaches them."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from structlog.testing import capture_logs

from cryptowatch.settings import Telemetry
from cryptowatch.telemetry.logs import REDACTED, configure_logs, redact


@pytest.fixture
def output() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    written = io.StringIO()
    configure_logs(Telemetry(), written)
    yield written
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_line_is_one_json_object_whichever_library_wrote_it(output: io.StringIO) -> None:
    structlog.get_logger("one").info("block applied", chain="bitcoin", height=5)
    logging.getLogger("two").warning("from %s", "elsewhere")
    first, second = [json.loads(line) for line in output.getvalue().splitlines()]
    assert (first["event"], first["height"], first["level"]) == ("block applied", 5, "info")
    assert (second["event"], second["level"]) == ("from elsewhere", "warning")
    assert first["timestamp"].endswith("Z")


def test_a_logger_that_wrote_before_follows_a_later_configuration(output: io.StringIO) -> None:
    logger = structlog.get_logger("one")
    logger.info("to the first")
    configure_logs(Telemetry(), later := io.StringIO())
    with capture_logs() as logs:
        logger.info("to whoever listens")
    logger.info("to the later one")
    assert ("to the first" in output.getvalue(), "later" in output.getvalue()) == (True, False)
    assert [log["event"] for log in logs] == ["to whoever listens"]
    assert "to the later one" in later.getvalue()


def test_what_is_below_the_level_is_left_out(output: io.StringIO) -> None:
    structlog.get_logger("one").debug("noise")
    logging.getLogger("two").debug("noise")
    assert output.getvalue() == ""


def test_a_traceback_is_in_its_line_and_clean_too(output: io.StringIO) -> None:
    try:
        raise ValueError("cwk_" + "a" * 43)
    except ValueError:
        structlog.get_logger("one").exception("failed")
    [line] = output.getvalue().splitlines()
    assert "ValueError" in json.loads(line)["exception"]
    assert "a" * 43 not in line


@pytest.mark.parametrize(
    "secret",
    [
        {"passphrase": "hunter2"},
        {"api_key": "x"},
        {"Authorization": "Bearer x"},
        {"webhook_secret": "x"},
        {"text": "key cwk_" + "a" * 43},
        {"text": "whsec_" + "b" * 44},
        {"dsn": "postgresql://user:hunter2@host/db"},
        {"xprv": "xprv" + "9" * 100},
        {"deep": {"list": [{"password": "x"}]}},
        {"raw": b"cwk_" + b"c" * 43},
    ],
)
def test_secrets_are_replaced(secret: dict[str, object]) -> None:
    cleaned = str(redact(None, "info", secret))
    assert REDACTED in cleaned
    assert not any(part in cleaned for part in ("hunter2", "a" * 43, "b" * 44, "9" * 100, "c" * 43, "'x'"))


@pytest.mark.parametrize(
    "plain",
    [
        {"chain": "bitcoin", "height": 5},
        {"key_id": "key_1"},
        {"url": "http://127.0.0.1:8332/"},
        {"node": "one"},
        {"tokens": 3},
        {"time": None},
    ],
)
def test_everything_else_stays(plain: dict[str, object]) -> None:
    assert redact(None, "info", plain) == plain
