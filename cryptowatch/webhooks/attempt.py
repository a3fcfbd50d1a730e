"""One delivery attempt: one POST to one endpoint, and nothing else.

Called by `worker`, outside any transaction (P4).

Never follows a redirect, never sends cookies, verifies TLS, connects only to checked addresses, reads a
bounded part of the answer and gives up after `timeout_s` (`exchange`). Every way to fail is a value (`Unanswered`).
"""

from collections.abc import Sequence
from functools import lru_cache

import aiohttp

from cryptowatch.clock import Clock
from cryptowatch.outbound.signature import signed_headers
from cryptowatch.outbound.target import ForbiddenTarget, check_url
from cryptowatch.webhooks.exchange import Poster
from cryptowatch.webhooks.machine import Answered, Attempt, Unanswered, parse_retry_after

#: An endpoint's URL is the same at each attempt.
_check_url = lru_cache(maxsize=256)(check_url)


async def attempt(
    poster: Poster, clock: Clock, *, url: str, message_id: str, body: bytes, secrets: Sequence[str]
) -> Attempt:
    """POST the body, signed with all `secrets`. Raises nothing but cancellation."""
    refused = _check_url(url, allow_private=poster.settings.allow_private_addresses)
    if refused is not None:
        return Unanswered(refused.reason)
    headers = signed_headers(message_id, int(clock.now().timestamp()), body, secrets)
    try:
        status, retry_after = await poster.post(url, headers, body)
        return Answered(status, parse_retry_after(retry_after, clock.now()))
    except TimeoutError:
        return Unanswered(f"no answer within {poster.settings.timeout_s:g} s")
    except aiohttp.ClientConnectorDNSError:
        return Unanswered("the name does not resolve")
    except aiohttp.ClientConnectorCertificateError:
        return Unanswered("the TLS certificate is not valid")
    except aiohttp.ClientConnectorError as problem:
        forbidden = isinstance(problem.os_error, ForbiddenTarget)
        return Unanswered("the address is not public" if forbidden else "cannot connect")
    except (aiohttp.ClientError, OSError, ValueError) as problem:
        return Unanswered(type(problem).__name__)
