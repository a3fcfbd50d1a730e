"""An API process that is killed between committing a write and answering it. Run by test_idempotency."""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence

from aiohttp import web

from cryptowatch.api.calls import Route
from cryptowatch.api.groups import Asking, Groups
from cryptowatch.api.idempotency import Stored
from cryptowatch.api.pipeline import Pipeline
from cryptowatch.db.pool import open_pool
from tests.api.world import running_api, settings
from tests.support.moving_clock import MovingClock

_once, _commit = Pipeline._once, Groups._commit


async def dying(self: Pipeline, request: web.Request, route: Route, raw: bytes) -> web.Response:
    response = await _once(self, request, route, raw)
    if route.writes:
        os.kill(os.getpid(), signal.SIGKILL)
    return response


async def dying_together(self: Groups, group: Sequence[Asking]) -> Sequence[Stored | Exception]:
    await _commit(self, group)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("dead")


async def main(dsn: str) -> None:
    Pipeline._once = dying  # type: ignore[method-assign]
    Groups._commit = dying_together  # type: ignore[method-assign]
    async with (
        open_pool(dsn, application_name="dying", size_max=2) as pool,
        running_api(pool, settings(dsn), MovingClock()) as world,
    ):
        print(world.url, flush=True)
        await asyncio.sleep(60)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
