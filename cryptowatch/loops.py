"""How every long-running part runs: one step again and again, waiting out what passes by itself.

Used by `daemon` for each worker. Only named errors are retried: Temporary (a node, the database or the signer is
away) and ConcurrentUpdate (another writer was first). Anything else ends the process, and its supervisor starts it
anew: every step begins from what the database says, so that is safe.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from itertools import islice
from typing import Final, TypeVar

import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from cryptowatch.clock import Clock
from cryptowatch.errors import ConcurrentUpdate, Temporary

log = structlog.get_logger(__name__)

_BACKOFF_MAX_S = 3.0
#: Less than a millisecond of work, so that who waits beside it for Postgres is not kept from sending.
_SLICE: Final = 100

T = TypeVar("T")

#: Told the error's class name at each failure, and None when the step works again.
ObserveFailure = Callable[[str, str | None], None]


async def run_forever(
    name: str,
    step: Callable[[], Awaitable[int]],
    *,
    interval_s: float,
    clock: Clock,
    observe_failure: ObserveFailure = lambda name, error: None,
) -> None:
    """Call `step` for ever: again at once while it says it did something, else after `interval_s`.

    Backs off up to 3 s while it fails. The first and each new kind of failure is logged, not every repetition.
    """
    failing: str | None = None

    def told(state: RetryCallState) -> None:
        nonlocal failing
        problem = state.outcome.exception() if state.outcome else None
        kind = type(problem).__name__
        observe_failure(name, kind)
        if kind != failing:
            failing = kind
            log.warning("waiting", loop=name, error=kind, problem=str(problem))

    # One for all steps: each of them refers to itself, so that thousands would wait for the garbage collector, and then
    # hold up whoever asks the API in that moment.
    retrying = AsyncRetrying(
        retry=retry_if_exception_type((Temporary, ConcurrentUpdate)),
        sleep=clock.sleep,
        wait=wait_random_exponential(multiplier=0.1, max=_BACKOFF_MAX_S),
        before_sleep=told,
    )
    while True:
        done = 0
        async for attempt in retrying:
            with attempt:
                done = await step()
        if failing is not None:
            log.info("works again", loop=name)
            observe_failure(name, None)
            failing = None
        if not done:
            await clock.sleep(interval_s)


def parts(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """All items in order, so many at a time, each made when its part is asked for."""
    rest = iter(items)
    return iter(lambda: list(islice(rest, size)), [])


async def slices(items: Iterable[T]) -> AsyncIterator[list[T]]:
    """Makes many items while Postgres, or a node, is at work on something else: all tasks get their turn in between.

    Beside a busy connection a thread would be no help: the two fight for the interpreter, and Postgres waits.
    """
    for part in parts(items, _SLICE):
        yield part
        await asyncio.sleep(0)


async def in_slices(items: Iterable[T]) -> list[T]:
    """All of `slices` in one list."""
    return [one async for part in slices(items) for one in part]
