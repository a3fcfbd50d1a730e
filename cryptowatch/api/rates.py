"""How often a key may call: a bucket of tokens for each, that fills at its rate and holds its burst. Pure.

Asked by `pipeline` before anything else is done for a request. Each process counts for itself: with n processes behind
one address a key may call n times as often. Only keys that were let in have a bucket: no more than there are (P10).
"""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Rate:
    """Requests a second on average, and at once after a pause."""

    per_s: int
    burst: int


@dataclass(slots=True)
class _Bucket:
    rate: Rate
    tokens: float
    filled_at_s: float


@dataclass(slots=True)
class Buckets:
    """By the digest of the key."""

    default: Rate
    _buckets: dict[bytes, _Bucket] = field(default_factory=dict)

    def take(self, digest: bytes | None, now_s: float) -> bool:
        """Whether one more request of the key may pass now; it is counted then. `now_s` never runs backwards."""
        bucket = None if digest is None else self._buckets.get(digest)
        if bucket is None:
            return True
        rate = bucket.rate
        bucket.tokens = min(rate.burst, bucket.tokens + (now_s - bucket.filled_at_s) * rate.per_s)
        bucket.filled_at_s = now_s
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True

    def meet(self, digest: bytes, own: Rate | None, now_s: float) -> None:
        """A key was let in; `own`: its own rate instead of the default one. Its first request is counted here."""
        if digest not in self._buckets:
            rate = own or self.default
            self._buckets[digest] = _Bucket(rate, rate.burst - 1, now_s)
