"""One bitcoind in regtest mode: its settings file, its process, its readiness.

Called by `devnet.network`. The nodes know only each other: they listen on loopback, look nobody up, and
announce transactions to each other at once (real nodes wait seconds, for privacy).
"""

import asyncio
import hashlib
import hmac
import secrets
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from cryptowatch.devnet.bitcoind import Bitcoind
from cryptowatch.devnet.ports import HeldPort
from cryptowatch.devnet.processes import Program
from cryptowatch.devnet.rpc import BitcoinRpc, RpcError, RpcUnreachable
from cryptowatch.leash import leashed

_COMMON = """\
regtest=1
[regtest]
server=1
rest=1
txindex=1
listen=1
listenonion=0
discover=0
dnsseed=0
fixedseeds=0
natpmp=0
rpcbind=127.0.0.1
rpcallowip=127.0.0.1
rpcthreads=16
rpcworkqueue=1024
rpcservertimeout=120
peertimeout=1000000000
whitelist=noban,in,out@127.0.0.1
fallbackfee=0.00002
maxtxfee=1
blockmaxweight=3990000
keypool=100
dbcache=64
checkmempool=0
checkblockindex=0
unsafesqlitesync=1
persistmempool=1
printtoconsole=0
"""


@dataclass
class BitcoinNode:
    """A node of the devnet; `rpc` reaches it directly, not through the fault proxy."""

    index: int
    folder: Path
    password: str = field(default_factory=lambda: secrets.token_hex(16))
    rpc_port: HeldPort = field(default_factory=HeldPort)
    p2p_port: HeldPort = field(default_factory=HeldPort)
    user: str = "devnet"
    #: Settings of bitcoin.conf that differ from the devnet's, such as `unsafesqlitesync` for a durable wallet.
    options: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rpc = BitcoinRpc(self.url)

    @property
    def name(self) -> str:
        return f"bitcoin:{self.index}"

    @property
    def address(self) -> str:
        """Without credentials."""
        return f"http://127.0.0.1:{self.rpc_port.number}"

    @property
    def url(self) -> str:
        return f"http://{self.user}:{self.password}@127.0.0.1:{self.rpc_port.number}"

    @property
    def auth_file(self) -> Path:
        return self.folder / "rpc.auth"

    def close(self) -> None:
        self.rpc_port.close()
        self.p2p_port.close()


def program(node: BitcoinNode, bitcoind: Bitcoind, peers: Sequence[BitcoinNode]) -> Program:
    """Writes the node's files and says how to run it."""
    node.folder.mkdir(parents=True, exist_ok=True)
    write_private(node.auth_file, f"{node.user}:{node.password}")
    salt = secrets.token_hex(16)
    proof = hmac.new(salt.encode(), node.password.encode(), hashlib.sha256).hexdigest()
    lines = [f"rpcauth={node.user}:{salt}${proof}", f"rpcport={node.rpc_port.number}"]
    lines += [f"bind=127.0.0.1:{node.p2p_port.number}"]
    lines += [f"connect=127.0.0.1:{peer.p2p_port.number}" for peer in peers if peer is not node]
    common = [line for line in _COMMON.splitlines() if line.partition("=")[0] not in node.options]
    lines = [*common, *(f"{key}={value}" for key, value in node.options.items()), *lines]
    write_private(node.folder / "bitcoin.conf", "\n".join(lines) + "\n")
    argv = leashed([*bitcoind.argv, f"-datadir={node.folder}"], death_signal=signal.SIGKILL)

    async def ready() -> bool:
        return await is_ready(node)

    async def before_kill() -> None:
        await save(node)

    return Program(node.name, tuple(argv), node.folder / "bitcoind.log", ready=ready, before_kill=before_kill)


async def is_ready(node: BitcoinNode) -> bool:
    try:
        await node.rpc("getblockcount")
    except (*RpcUnreachable, RpcError):
        return False
    return True


async def save(node: BitcoinNode) -> None:
    """Write mempool and chain state to disk: a real node does so by the hour, these live for minutes."""
    with suppress(*RpcUnreachable, RpcError):
        await node.rpc("savemempool")
        await node.rpc("gettxoutsetinfo", "none")


async def until_same_head(nodes: Sequence[BitcoinNode], *, timeout_s: float = 60) -> str:
    """Wait until the nodes agree on the best block; answers its hash. Raises TimeoutError."""
    async with asyncio.timeout(timeout_s):
        while True:
            heads = await asyncio.gather(*(node.rpc("getbestblockhash") for node in nodes))
            if len(set(heads)) == 1:
                return str(heads[0])
            await asyncio.sleep(0.01)


async def until_same_mempool(nodes: Sequence[BitcoinNode], *, timeout_s: float) -> bool:
    """Wait until the nodes' pending transactions are equal in number and size; False when time is up."""
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                found = await asyncio.gather(*(node.rpc("getmempoolinfo") for node in nodes))
                if len({(pool["size"], pool["bytes"]) for pool in found}) == 1:
                    return True
                await asyncio.sleep(0.01)
    except TimeoutError:
        return False


def write_private(path: Path, text: str) -> None:
    """A file only its owner can read, from its first byte on."""
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
