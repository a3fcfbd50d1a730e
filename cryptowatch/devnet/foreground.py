"""A devnet in the foreground, until Ctrl-C or SIGTERM: what `cryptowatch devnet up` runs.

Also `python -m cryptowatch.devnet.foreground DIR [CHAIN=NODES…]`, for tests: without the command line around it.
Either signal stops all that was started, in order, also while it is still starting.
"""

import asyncio
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from cryptowatch.devnet.client import Net
from cryptowatch.devnet.network import up


def run(
    folder: Path,
    *,
    daemon: bool = False,
    block_time_s: float = 0,
    bitcoin_nodes: int = 3,
    ethereum: Mapping[str, int] | None = None,
    stream: bool = False,
    seed: int | None = None,
) -> None:
    """Blocks. Raises OperatorError when a part does not start."""
    asyncio.run(_until_told(folder, daemon, block_time_s, bitcoin_nodes, ethereum, stream, seed))


async def _until_told(
    folder: Path,
    daemon: bool,
    block_time_s: float,
    bitcoin_nodes: int,
    ethereum: Mapping[str, int] | None,
    stream: bool,
    seed: int | None,
) -> None:
    console = Console(highlight=False)
    running = asyncio.current_task()
    assert running is not None
    told = asyncio.Event()
    started = False

    def stop() -> None:
        told.set()
        # While starting nobody waits for it: the start itself is broken off, and undone.
        if not started:
            running.cancel()

    for wish in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(wish, stop)
    try:
        async with up(
            folder,
            bitcoin_nodes=bitcoin_nodes,
            ethereum=ethereum,
            stream=stream,
            daemon=daemon,
            block_time_s=block_time_s,
            seed=seed,
            progress=lambda step: console.print(f"[dim]devnet[/dim] {step}"),
        ) as net:
            started = True
            console.print(_summary(net))
            await told.wait()
            console.print("[dim]devnet[/dim] stopping")
    except asyncio.CancelledError:
        if not told.is_set():
            raise
    console.print("[dim]devnet[/dim] stopped")


def _summary(net: Net) -> Table:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    rows = [("control", net.control_url), ("postgres", net.postgres_dsn), ("api", net.api_url)]
    rows += [(f"bitcoin {n}", node.rpc_url) for n, node in enumerate(net.bitcoin)]
    for chain, found in net.evm.items():
        rows += [(f"{chain} {n}", node.rpc_url) for n, node in enumerate(found.nodes)]
        rows += [(f"{chain} {symbol}", place) for symbol, place in found.tokens.items()]
    rows += [("events", net.nats_url)] if net.nats_url else []
    rows += [("settings", str(net.settings_file)), ("stop", "Ctrl-C")]
    for name, value in rows:
        table.add_row(name, value)
    return table


if __name__ == "__main__":
    words = (word.partition("=") for word in sys.argv[2:])
    node_counts = {name: int(count) for name, _, count in words}
    run(Path(sys.argv[1]), bitcoin_nodes=node_counts.pop("bitcoin", 3), ethereum=node_counts)
