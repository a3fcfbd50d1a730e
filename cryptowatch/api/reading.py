"""From what came over the wire to typed values; everything that does not fit is a clear problem.

Called by `pipeline`.

Nothing behind this sees a NUL character, a lone surrogate, an unknown member or a number out of range.
"""

from typing import Any

import msgspec
from aiohttp import web

from cryptowatch.api.problems import refuse

_NUL = b"\\u0000"


async def read_raw(request: web.Request) -> bytes:
    """The body's bytes. Raises Refused: wrong media type, compressed, too large, or broken off."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise refuse("unsupported_media_type", "compressed bodies are not taken")
    if request.content_type != "application/json":
        raise refuse("unsupported_media_type", "send Content-Type: application/json")
    if request.charset is not None and request.charset.lower() not in ("utf-8", "utf8"):
        raise refuse("unsupported_media_type", "JSON is UTF-8")
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge as problem:
        raise refuse("body_too_large", f"a body has at most {request.client_max_size} bytes") from problem
    except (web.RequestPayloadError, ConnectionError) as problem:
        raise refuse("invalid_request", "the body broke off") from problem


def decode_body(raw: bytes, wanted: type) -> Any:
    """Raises Refused (400) that says where it does not fit."""
    try:
        # Nothing else stands for a NUL in JSON: looking once costs less than a pattern on each text.
        if _NUL in raw and _has_nul(msgspec.json.decode(raw)):
            raise refuse("invalid_request", "no text may hold a NUL character")
        return msgspec.json.decode(raw, type=wanted)
    except msgspec.ValidationError as problem:
        raise refuse("invalid_request", str(problem)) from problem
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise refuse("invalid_json", "the body is not JSON in UTF-8") from problem


def _has_nul(value: object) -> bool:
    match value:
        case str():
            return "\x00" in value
        case list():
            return any(map(_has_nul, value))
        case dict():
            return any(map(_has_nul, value)) or any(map(_has_nul, value.values()))
    return False


def decode_query(request: web.Request, wanted: type) -> Any:
    """Raises Refused (400) for unknown, repeated or wrong parameters."""
    given = request.rel_url.query
    if len(set(given)) != len(given):
        raise refuse("invalid_request", "a parameter stands there twice")
    try:
        for name, value in given.items():
            name.encode()
            value.encode()
            if value.lower() == "null":
                raise refuse("invalid_request", f"`{name}` is left out, not null")
        return msgspec.convert(dict(given), wanted, strict=False)
    except msgspec.ValidationError as problem:
        raise refuse("invalid_request", str(problem)) from problem
    except UnicodeEncodeError as problem:
        raise refuse("invalid_request", "parameters are UTF-8") from problem
