"""The floor of `withdrawals` and `play`: an aiohttp handler that inserts and commits one row, as a process of its own.

`python -m benchmarks._bare_server DSN`; prints its port.
"""

import asyncio
import sys

import asyncpg
import uvloop
from aiohttp import web

#: As many connections as the daemon has by default.
_POOL_SIZE = 10


async def serve(dsn: str) -> None:
    async with asyncpg.create_pool(dsn, min_size=_POOL_SIZE, max_size=_POOL_SIZE) as pool:
        await pool.execute(
            "CREATE TABLE bare (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body bytea)"
        )

        async def insert(request: web.Request) -> web.Response:
            row = await pool.fetchval(
                "INSERT INTO bare (body) VALUES ($1) RETURNING id", await request.read()
            )
            return web.json_response({"id": row}, status=202 if request.path == "/v1/withdrawals" else 201)

        app = web.Application()
        app.router.add_post("/v1/{path:.*}", insert)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        print(runner.addresses[0][1], flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1]))
