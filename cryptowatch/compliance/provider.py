"""The platform's screening provider: one signed question over HTTP, one verdict, or none.

Called by `screening` and `source_screening`, outside any transaction (P4). As webhooks do, it never follows a redirect,
never sends cookies, verifies TLS, connects to checked addresses alone, reads a bounded answer and gives up in time.
Whatever is wrong with an answer, it is none: what holds then is a setting (`ruling`).
"""

import asyncio
import base64
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Literal

import aiohttp
import msgspec
import structlog
from msgspec import Meta

from cryptowatch import __version__
from cryptowatch.clock import Clock
from cryptowatch.errors import SettingsError
from cryptowatch.outbound.signature import SECRET_PREFIX, signed_headers
from cryptowatch.outbound.target import check_url, guarded_sockets
from cryptowatch.settings.compliance import Screening
from cryptowatch.telemetry.metrics import ComplianceMetrics

log = structlog.get_logger(__name__)

Verdict = Literal["pass", "review", "refuse"]
_OK = 200
#: As Standard Webhooks asks.
_KEY_BYTES_MIN = 24


class Answer(msgspec.Struct, frozen=True):
    """What a provider answers, with status 200. `reference` finds it in the provider's own records."""

    verdict: Verdict
    reference: Annotated[str, Meta(pattern=r"^[^\x00]*$", max_length=200)] | None = None


class Question(msgspec.Struct, frozen=True):
    """What it is asked. The id is the same however often it is asked."""

    id: str
    account_id: str
    chain: str
    asset: str
    amount: str
    address: str
    type: Literal["withdrawal"] = "withdrawal"


class SourceQuestion(msgspec.Struct, frozen=True):
    """What it is asked of a deposit: its transaction, and the first of the addresses that paid it.

    There are none where what it spends has no address.
    """

    id: str
    account_id: str
    chain: str
    asset: str
    amount: str
    tx_hash: str
    addresses: Sequence[str]
    type: Literal["deposit"] = "deposit"


_answer = msgspec.json.Decoder(Answer)


@dataclass(frozen=True, slots=True)
class Ruling:
    """What holds about a question: what was answered, or the setting."""

    verdict: Verdict
    answered: bool
    reference: str | None

    @property
    def passes(self) -> bool:
        return self.verdict == "pass"

    @property
    def compared(self) -> dict[str, str]:
        """As a case shows it."""
        return {
            "verdict": self.verdict,
            "answered": str(self.answered).lower(),
            "reference": self.reference or "",
        }


def ruling(answer: Answer | None, default: Verdict) -> Ruling:
    if answer is None:
        return Ruling(default, answered=False, reference=None)
    return Ruling(answer.verdict, answered=True, reference=answer.reference)


@dataclass(frozen=True, slots=True)
class Provider:
    settings: Screening
    url: str
    secret: str
    clock: Clock
    metrics: ComplianceMetrics

    @asynccontextmanager
    async def session(self) -> AsyncIterator[aiohttp.ClientSession]:
        own = self.settings
        connector = aiohttp.TCPConnector(
            limit=own.at_once, socket_factory=guarded_sockets(allow_private=own.allow_private_addresses)
        )
        async with aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=own.timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        ) as session:
            yield session

    async def ask_all(self, questions: Sequence[Question | SourceQuestion]) -> Sequence[Answer | None]:
        """As many at once as a session has connections; the time of each begins when it has one."""
        if not questions:
            return []
        asking = asyncio.Semaphore(self.settings.at_once)
        async with self.session() as session:

            async def ask(question: Question | SourceQuestion) -> Answer | None:
                async with asking:
                    return await self.ask(session, question)

            return await asyncio.gather(*map(ask, questions))

    async def ask(self, session: aiohttp.ClientSession, question: Question | SourceQuestion) -> Answer | None:
        """None: no answer that counts. Raises nothing but cancellation."""
        started_s = self.clock.monotonic_s()
        answer = await self._ask(session, question)
        self.metrics.screening_seconds.observe(self.clock.monotonic_s() - started_s)
        self.metrics.screened.labels("unanswered" if answer is None else answer.verdict).inc()
        return answer

    async def _ask(
        self, session: aiohttp.ClientSession, question: Question | SourceQuestion
    ) -> Answer | None:
        body = msgspec.json.encode(question)
        signed_at = int(self.clock.now().timestamp())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"cryptowatch/{__version__}",
            "Accept-Encoding": "identity",
            **signed_headers(question.id, signed_at, body, [self.secret]),
        }
        try:
            async with session.post(self.url, data=body, headers=headers, allow_redirects=False) as response:
                if response.status == _OK:
                    return _answer.decode(await self._read(response))
                problem = f"status {response.status}"
        except (
            TimeoutError,
            aiohttp.ClientError,
            OSError,
            ValueError,
            msgspec.DecodeError,
            RecursionError,
        ) as error:
            # The type alone: a message may hold the URL.
            problem = type(error).__name__
        log.warning("no answer of the screening provider", subject=question.id, problem=problem)
        return None

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        """Raises ValueError for more than an answer may have."""
        body = b""
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > self.settings.response_bytes_max:
                raise ValueError("too long")
        return body


def open_provider(settings: Screening, clock: Clock, metrics: ComplianceMetrics) -> Provider | None:
    """None: there is none. Raises SettingsError for a URL that may not be called, and for a secret that is none."""
    if settings.url is None:
        return None
    refused = check_url(settings.url, allow_private=settings.allow_private_addresses)
    if refused is not None:
        raise SettingsError("compliance.screening.url", refused.reason)
    key = "compliance.screening.secret_file"
    if settings.secret_file is None:
        raise SettingsError(key, "screening needs one")
    try:
        secret = settings.secret_file.read_text(encoding="ascii").strip()
        key_bytes = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (OSError, ValueError) as problem:
        raise SettingsError(key, f"cannot be used: {type(problem).__name__}") from problem
    if not secret.startswith(SECRET_PREFIX) or len(key_bytes) < _KEY_BYTES_MIN:
        raise SettingsError(key, f"holds {SECRET_PREFIX} and the base64 of at least {_KEY_BYTES_MIN} bytes")
    return Provider(settings, settings.url, secret, clock, metrics)
