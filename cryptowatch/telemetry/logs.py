"""Logs: one JSON object per line for machines, or coloured lines for people.

Called once, by the commands, at start.

What could be a secret never reaches a line: values under telling names, and keys and webhook secrets inside
any text, are replaced. That is the last net, not the rule: code logs ids, states and counts, never bodies or
headers.
"""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

from cryptowatch.settings import Telemetry

REDACTED = "[redacted]"
_NAMES = re.compile(
    r"secret|passphrase|password|authorization|mnemonic|private|seed|cookie|(^|_)(token|key)$", re.I
)
_VALUES = re.compile(
    r"cwk_[A-Za-z0-9_-]{8,}|whsec_[A-Za-z0-9+/=]{8,}|[xyzt]prv[A-Za-z0-9]{20,}|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"
)

Line = MutableMapping[str, Any]


def configure_logs(settings: Telemetry, output: TextIO | None = None) -> None:
    """For this process, structlog and the standard library's alike. `output` None = stderr."""
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact,
    ]
    last: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if settings.log_format == "json"
        else structlog.dev.ConsoleRenderer()
    )
    # Not cached at first use: a module's logger would keep the configuration of that moment for good.
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    handler = logging.StreamHandler(output or sys.stderr)
    remove_meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[remove_meta, last])
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)


def redact(_: Any, __: str, line: Line) -> Line:
    """structlog's processor: replaces what could be a secret, at any depth."""
    return {name: REDACTED if _NAMES.search(name) else _clean(value) for name, value in line.items()}


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return _VALUES.sub(REDACTED, value)
    if isinstance(value, bytes):
        return _clean(value.decode("latin-1"))
    if isinstance(value, dict):
        return redact(None, "", {str(name): part for name, part in value.items()})
    if isinstance(value, list | tuple):
        return [_clean(part) for part in value]
    return value
