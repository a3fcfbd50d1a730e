"""A key's bucket of tokens, as pure rules."""

import pytest

from cryptowatch.api.rates import Buckets, Rate

KEY, OTHER = b"k", b"o"


def passed(buckets: Buckets, count: int, now_s: float, key: bytes = KEY) -> int:
    return sum(buckets.take(key, now_s) for _ in range(count))


def test_a_burst_passes_then_the_rate() -> None:
    buckets = Buckets(Rate(10, 5))
    buckets.meet(KEY, None, 100)
    # The request by which it was met is the first of the five.
    assert passed(buckets, 20, 100) == 4
    assert passed(buckets, 20, 100.05) == 0
    assert passed(buckets, 20, 100.35) == 3


def test_a_pause_earns_a_burst_and_no_more() -> None:
    buckets = Buckets(Rate(10, 5))
    buckets.meet(KEY, None, 100)
    assert passed(buckets, 20, 10_000) == 5


def test_keys_do_not_share_and_may_have_their_own() -> None:
    buckets = Buckets(Rate(10, 5))
    buckets.meet(KEY, None, 0)
    buckets.meet(OTHER, Rate(1, 2), 0)
    assert (passed(buckets, 20, 0), passed(buckets, 20, 0, OTHER)) == (4, 1)
    buckets.meet(OTHER, Rate(1, 2), 0)
    assert passed(buckets, 20, 0, OTHER) == 0


@pytest.mark.parametrize("digest", [None, b"never let in"])
def test_who_was_never_let_in_has_no_bucket(digest: bytes | None) -> None:
    assert all(Buckets(Rate(1, 1)).take(digest, 0) for _ in range(9))
