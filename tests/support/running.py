"""A whole cryptowatch on the worker's devnet: its own database, wallet, signer and daemon, and a casino.

`Site` is what the tests of the promises hold. The daemon runs as tasks of the test's event loop, or as
processes that can be killed (`processes`). The chain is shared with the other tests of the worker; nothing
else is: every site has keys of its own, so it sees no other site's coins.
"""

import asyncio
import json
import os
import secrets
import time
import tomllib
import uuid
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from functools import partial
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from cryptowatch import daemon
from cryptowatch.api.keys import SECRET_BYTES, Scope, create_key
from cryptowatch.chains.bitcoin.address import address_of
from cryptowatch.clock import SystemClock
from cryptowatch.db.pool import Pool, open_pool, transaction
from cryptowatch.devnet.client import Net
from cryptowatch.devnet.configuration import HOT_ACCOUNTS
from cryptowatch.devnet.ethereum.wallet import WalletContracts, deploy_contracts
from cryptowatch.devnet.keys import WalletKeys, write_keys
from cryptowatch.devnet.ports import HeldPort
from cryptowatch.ids import derived_id
from cryptowatch.ledger.rules import Balance
from cryptowatch.money import format_amount, parse_amount
from cryptowatch.sending.halts import resume
from cryptowatch.settings import Settings, load_settings
from cryptowatch.signing.configure import open_service
from cryptowatch.signing.server import SignerServer
from cryptowatch.treasury.reconcile import read_positions, write_off
from tests.api.world import Answer, Caller
from tests.support import processes

CHAIN, ASSET, DECIMALS = "bitcoin", "BTC", 8


@dataclass(frozen=True)
class Currency:
    """An asset on a chain, with the ledger's decimals."""

    chain: str
    asset: str
    decimals: int

    def units(self, text: str) -> int:
        """Whole coins as base units."""
        return int(parse_amount(text, self.decimals))

    def text(self, base_units: int) -> str:
        return format_amount(base_units, self.decimals)


BTC = Currency(CHAIN, ASSET, DECIMALS)
#: Depths in the devnet's settings: of deposits up to 1 BTC, of larger ones, and of payouts.
SMALL, LARGE, FINAL = (1, 3), (2, 6), 6
#: What a player pays for a withdrawal in the devnet's settings.
WITHDRAWAL_FEE = 5_000
DEADLINE_S = 30.0
_POLL_S = 0.02

T = TypeVar("T")


def sat(text: str) -> int:
    """Whole coins as base units."""
    return int(parse_amount(text.removeprefix("-"), DECIMALS)) * (-1 if text.startswith("-") else 1)


def node_sat(amount: Decimal | int) -> int:
    """An amount as a node gives it."""
    return int(Decimal(amount) * 10**DECIMALS)


def btc(base_units: int) -> str:
    return format_amount(base_units, DECIMALS)


def story_until(tier: tuple[int, int], confirmations: int) -> list[str]:
    """What an included deposit of the tier is told as, so deep."""
    credit, finalize = tier
    # One that its first block credits never waits there.
    first = [] if credit == 1 else [("confirming", 1)]
    reached = [*first, ("credited", credit), ("finalized", finalize)]
    return [state for state, needed in reached if confirmations >= needed]


def strangers_address() -> str:
    """Of nobody: what is paid there stays there, so that it can be counted."""
    address = address_of(b"\x00\x14" + os.urandom(20), "regtest")
    assert address is not None
    return address


async def until(
    condition: Callable[[], Awaitable[T | None]],
    *,
    timeout_s: float = DEADLINE_S,
    alive: Callable[[], None] = lambda: None,
) -> T:
    """Ask until the answer is true in Python's sense, and give it. Fails the test at the deadline."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        try:
            if answer := await condition():
                return answer
        except aiohttp.ClientError:
            alive()
            raise
        alive()
        assert time.monotonic() < deadline_s, f"still {answer!r} after {timeout_s:g} s"
        await asyncio.sleep(_POLL_S)


@dataclass
class Player:
    """A player of the casino, through the API, in one currency."""

    site: "Site"
    id: str
    currency: Currency = BTC

    def using(self, currency: Currency) -> "Player":
        """The same player in another currency."""
        return Player(self.site, self.id, currency)

    async def address(self) -> str:
        body = {"chain": self.currency.chain}
        answer = await self.site.backend.post(f"/v1/accounts/{self.id}/addresses", body)
        assert answer.status == 201, answer
        return str(answer.body["address"])

    async def balance(self) -> Balance:
        """As the API shows it; what it derives is compared with the ledger's rules on the way."""
        rows = (await self.site.backend.get(f"/v1/accounts/{self.id}/balances")).body
        rows = [row for row in rows if row["asset"] == self.currency.asset]
        if not rows:
            return Balance()
        [row] = rows
        units = self._units
        found = Balance(units(row["total"]), units(row["unfinalized"]), units(row["held"]))
        assert (units(row["playable"]), units(row["withdrawable"]), units(row["debt"])) == (
            found.playable,
            found.withdrawable,
            found.debt,
        )
        return found

    async def deposits(self) -> list[dict[str, Any]]:
        """Oldest first."""
        params = {"account_id": self.id, "chain": self.currency.chain}
        answer = await self.site.backend.get("/v1/deposits", params=params)
        return [row for row in reversed(answer.body["data"]) if row["asset"] == self.currency.asset]

    def _units(self, text: str) -> int:
        return self.currency.units(text.removeprefix("-")) * (-1 if text.startswith("-") else 1)

    async def deposit(self) -> dict[str, Any] | None:
        """The only one, once there is one."""
        found = await self.deposits()
        assert len(found) <= 1, found
        return found[0] if found else None

    async def has_deposit(self) -> dict[str, Any]:
        """Wait for the only one."""
        found = await self.site.until(self.deposit)
        assert found is not None
        return found

    async def reaches(self, state: str) -> dict[str, Any]:
        """Wait until the only deposit is in a state."""

        async def there() -> bool:
            return await self.state() == state

        await self.site.until(there)
        return await self.has_deposit()

    async def state(self) -> str | None:
        found = await self.deposit()
        return None if found is None else str(found["state"])

    async def state_in_database(self) -> str | None:
        """The same while no daemon answers."""
        found = await self.site.pool.fetchval(
            "SELECT state FROM deposit WHERE account_id = $1", uuid.UUID(hex=self.id.partition("_")[2])
        )
        return None if found is None else str(found)

    async def story(self) -> list[str]:
        """What happened to the only deposit: its events, without their common prefix."""
        found = await self.deposit()
        assert found is not None
        return await self.site.story(found["id"])

    async def bet(self, base_units: int) -> Answer:
        return await self.transfer("bet", base_units)

    async def transfer(self, kind: str, base_units: int) -> Answer:
        currency = self.currency
        amount = currency.text(base_units)
        body = {"account_id": self.id, "asset": currency.asset, "amount": amount, "kind": kind}
        return await self.site.backend.post("/v1/transfers", body)

    async def ask_withdrawal(self, base_units: int, address: str, **options: Any) -> Answer:
        idempotency_key = options.pop("idempotency_key", "fresh")
        body = {
            "account_id": self.id,
            "asset": self.currency.asset,
            "chain": self.currency.chain,
            "amount": self.currency.text(base_units),
            "address": address,
        }
        return await self.site.backend.post(
            "/v1/withdrawals", {**body, **options}, idempotency_key=idempotency_key
        )

    async def withdraw(self, base_units: int, address: str, **options: Any) -> str:
        """An accepted withdrawal's id."""
        answer = await self.ask_withdrawal(base_units, address, **options)
        assert answer.status == 202, answer
        return str(answer.body["id"])


@dataclass
class Site:
    """One installation. `start` before use; `close` ends all that was started."""

    net: Net
    dsn: str
    folder: Path
    overrides: Mapping[str, Any]
    #: Of the devnet's, those that this site follows.
    chains: Collection[str] = (CHAIN,)
    contracts: dict[str, WalletContracts] = field(default_factory=dict)
    pool: Pool = field(init=False)
    backend: Caller = field(init=False)
    approver: Caller = field(init=False)
    keys: WalletKeys = field(init=False)
    settings_file: Path = field(init=False)
    start_height: int = field(init=False)
    _session: aiohttp.ClientSession = field(init=False)
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    _daemon: "asyncio.Task[None] | None" = None
    _signer: "asyncio.Task[None] | None" = None
    _stop_signer: asyncio.Event = field(default_factory=asyncio.Event)
    #: Those that are processes, in the order of their start.
    daemons: list[ForkServerProcess] = field(default_factory=list)
    _spawned: list[ForkServerProcess] = field(default_factory=list)

    async def open(self) -> None:
        """Everything but the processes."""
        self.folder.mkdir(mode=0o700)
        self.keys = write_keys(self.folder)
        for name in self.chains:
            if name in self.net.evm:
                self.contracts[name] = await deploy_contracts(
                    partial(self.net.deploy, name), self.senders(name)
                )
        port = self.hold_port()
        self.settings_file = self.write_settings("cryptowatch.toml", port)
        self.pool = await self._stack.enter_async_context(
            open_pool(self.dsn, application_name="test", size_max=4)
        )
        self._session = await self._stack.enter_async_context(aiohttp.ClientSession())
        url = f"http://127.0.0.1:{port}"
        backend = [Scope.READ, Scope.ACCOUNTS, Scope.LEDGER, Scope.WITHDRAWALS, Scope.ADMIN]
        self.backend = await self._caller(url, "backend", backend)
        self.approver = await self._caller(url, "approver", [Scope.READ, Scope.APPROVALS])
        self.start_height = await self.net.bitcoin[0].rpc("getblockcount")

    async def close(self) -> None:
        for process in self._spawned:
            processes.kill(process)
        await self.stop_daemon()
        await self.stop_signer()
        await self._stack.aclose()

    def hold_port(self) -> int:
        """A loopback port that is the site's until it closes."""
        port = HeldPort()
        self._stack.callback(port.close)
        return port.number

    def senders(self, chain: str) -> list[str]:
        """Addresses of the accounts that send, the vault first: derived, or those that the settings list."""
        wallet = self.overrides.get("chains", {}).get(chain, {}).get("wallet", {})
        return list(wallet.get("sending_accounts", ())) or self.keys.senders(HOT_ACCOUNTS)

    # --- settings -------------------------------------------------------------------------------------------

    def write_settings(self, name: str, api_port: int, overrides: Mapping[str, Any] | None = None) -> Path:
        """The devnet's own settings with this site's database, keys and socket, and short pauses."""
        document = tomllib.loads(self.net.settings_file.read_text())
        document["chains"] = {
            name: chain for name, chain in document["chains"].items() if name in self.chains
        }
        document["signer"]["policy"] = {
            name: policy for name, policy in document["signer"]["policy"].items() if name in self.chains
        }
        document["database"] = {"dsn": self.dsn, "migrate": False, "pool_size": 8}
        document["api"] = {"host": "127.0.0.1", "port": api_port}
        document["webhooks"] |= {"poll_interval_s": 0.1, "schedule_s": [0.2] * 20}
        document["treasury"] = {"reconcile_interval_s": 0.1, "audit_interval_s": 0.3}
        document["signer"] |= {
            "socket": str(self.folder / "signer.sock"),
            "keystore": str(self.keys.keystore),
            "passphrase_file": str(self.keys.passphrase_file),
            "log": str(self.folder / "signer-log.jsonl"),
            "timeout_s": 5,
        }
        for name, chain in document["chains"].items():
            chain.pop("start_height", None)
            chain |= {
                "poll_interval_s": 0.05,
                "mempool_interval_s": 0.05,
                "request_timeout_s": 3,
                "quarantine_s": 1,
                "batching": {"wait_max_s": 0},
            }
            chain["wallet"] |= {"addresses_ahead": 40, **self._wallet(name)}
            if name in self.contracts:
                chain["contracts"] = asdict(self.contracts[name])
        document = merged(merged(document, self.overrides), overrides or {})
        path = self.folder / name
        path.write_text("\n".join(f"{key} = {toml(value)}" for key, value in document.items()) + "\n")
        return path

    def _wallet(self, chain: str) -> dict[str, Any]:
        if chain in self.net.evm:
            return {"xpub_bip44": self.keys.xpub_bip44, "sweep_interval_s": processes.INTERVAL_S}
        return {"xpub_bip84": self.keys.xpub_bip84, "xpub_bip86": self.keys.xpub_bip86}

    def rewrite_settings(self, **chain: Any) -> None:
        """Change settings of the chain; for the next start."""
        self.reconfigure(chains={CHAIN: chain})

    def reconfigure(self, **overrides: Any) -> None:
        """Change whatever settings; for the next start."""
        self.overrides = merged(self.overrides, overrides)
        self.write_settings(self.settings_file.name, self.settings.api.port)

    @property
    def settings(self) -> Settings:
        return load_settings(self.settings_file)

    async def _caller(self, url: str, name: str, scopes: Collection[Scope]) -> Caller:
        now = SystemClock().now()
        async with self.pool.acquire() as conn:
            key, view = await create_key(
                conn,
                derived_id(now, secrets.token_bytes(16)),
                secrets.token_bytes(SECRET_BYTES),
                name=name,
                scopes=scopes,
                expires_at=None,
                now=now,
            )
        return Caller(self._session, url, key, view.id)

    # --- processes ------------------------------------------------------------------------------------------

    async def start(self, roles: Collection[str] = daemon.ROLES) -> None:
        await self.start_signer()
        await self.start_daemon(roles)

    async def start_daemon(
        self, roles: Collection[str] = daemon.ROLES, *, timeout_s: float = DEADLINE_S
    ) -> None:
        """As tasks of this event loop; ready for requests, and on the chain, when this returns.

        `timeout_s`: how long it may take to catch up.
        """
        assert self._daemon is None
        self._daemon = asyncio.create_task(daemon.run(self.settings, roles))
        if "api" in roles:
            await self.until(self.is_ready)
        for chain in self.chains:
            await self.until(partial(self.cursor, chain))
            if "watch" in roles:
                await self.caught_up(chain, timeout_s=timeout_s)

    async def stop_daemon(self) -> None:
        task, self._daemon = self._daemon, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def start_signer(self) -> None:
        assert self._signer is None
        service = await asyncio.to_thread(open_service, self.settings, SystemClock())
        server = SignerServer(service, self.settings.signer)
        self._stop_signer = asyncio.Event()

        async def serve() -> None:
            try:
                await server.run(self._stop_signer)
            finally:
                service.close()

        self._signer = asyncio.create_task(serve())
        await server.listening.wait()

    async def stop_signer(self) -> None:
        task, self._signer = self._signer, None
        if task is not None:
            self._stop_signer.set()
            await task

    def spawn_daemon(self, settings_file: Path | None = None, roles: str | None = None) -> ForkServerProcess:
        """A daemon as a process; killed at the end at the latest."""
        process = processes.start_daemon(
            settings_file or self.settings_file, self.folder / "daemon.log", roles
        )
        self._spawned.append(process)
        self.daemons.append(process)
        return process

    def spawn_signer(self) -> ForkServerProcess:
        process = processes.start_signer(self.settings_file, self.folder / "signer.log")
        self._spawned.append(process)
        return process

    async def start_processes(self) -> ForkServerProcess:
        """Signer and daemon as processes, ready for requests and on the chain; the daemon's."""
        self.spawn_signer()
        daemon_process = self.spawn_daemon()
        await self.until(self.is_ready)
        for chain in self.chains:
            await self.until(partial(self.cursor, chain))
            await self.caught_up(chain)
        return daemon_process

    async def caller(self, scopes: Collection[Scope]) -> Caller:
        """Another API key."""
        return await self._caller(self.backend.url, "another", scopes)

    async def is_ready(self, port: int | None = None) -> bool:
        """Whether the daemon with this API port (None: the one that the test talks to) takes requests."""
        url = self.backend.url if port is None else f"http://127.0.0.1:{port}"
        try:
            async with self._session.get(f"{url}/health/ready") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    def alive(self) -> None:
        """Raises what ended the daemon, when something did that no test wished for."""
        for process in self._spawned:
            # Negative: a signal, so a test's.
            assert (process.exitcode or 0) <= 0, (self.folder / "daemon.log").read_text()[-5000:]
        for task in (self._daemon, self._signer):
            if task is not None and task.done():
                task.result()
                raise AssertionError("the daemon or the signer ended without an error")

    # --- waiting --------------------------------------------------------------------------------------------

    async def until(
        self, condition: Callable[[], Awaitable[T | None]], *, timeout_s: float = DEADLINE_S
    ) -> T:
        return await until(condition, timeout_s=timeout_s, alive=self.alive)

    async def cursor(self, chain: str = CHAIN) -> tuple[int, str] | None:
        row = await self.pool.fetchrow("SELECT height, hash FROM chain WHERE chain = $1", chain)
        return None if row is None else (row["height"], row["hash"].hex())

    async def caught_up(self, chain: str = CHAIN, *, timeout_s: float = DEADLINE_S) -> int:
        """Wait until the daemon has applied the nodes' best block; its height."""
        height, best = await self._best(chain)

        async def there() -> bool:
            return await self.cursor(chain) == (height, best)

        await self.until(there, timeout_s=timeout_s)
        return height

    async def _best(self, chain: str) -> tuple[int, str]:
        """By the first node."""
        if chain in self.net.evm:
            block = await self.net.evm[chain].nodes[0].rpc("eth_getBlockByNumber", "latest", False)
            return int(block["number"], 16), str(block["hash"]).removeprefix("0x")
        node = self.net.bitcoin[0].rpc
        best = await node("getbestblockhash")
        return int((await node("getblockheader", best))["height"]), best

    async def mine(self, blocks: int = 1, chain: str = CHAIN) -> None:
        """Mine, and wait until the daemon has applied it."""
        await self.net.mine(blocks, chain=chain)
        await self.caught_up(chain)

    async def reorg(
        self,
        depth: int,
        drop: Collection[str] = (),
        include: Collection[str] = (),
        chain: str = CHAIN,
    ) -> None:
        """`depth` blocks are replaced by one more, and the daemon has followed."""
        await self.net.reorg(depth, list(drop), list(include), chain=chain)
        await self.caught_up(chain)

    async def polled(self, rounds: int = 3, method: str = "head") -> None:
        """Wait until every node was asked so many times more: what would have happened has happened."""
        before = await self.metric("node_request_seconds_count", method=method, by="node")

        async def enough() -> bool:
            now = await self.metric("node_request_seconds_count", method=method, by="node")
            return all(
                now.get(node, 0) >= before.get(node, 0) + rounds for node in now.keys() | before.keys()
            )

        await self.until(enough)

    async def reads_first_from(self, *numbers: int, chain: str = CHAIN) -> None:
        """Wait until these nodes are by far the quickest: what was slow while all started up counts for a while."""
        names = {f"{chain}-{number}" for number in numbers}

        async def quickest() -> bool:
            [nodes] = [c["nodes"] for c in (await self.backend.get("/v1/chains")).body if c["chain"] == chain]
            latency_s = {node["name"]: node["latency_s"] for node in nodes}
            if None in latency_s.values():
                return False
            others_s = [latency_s[name] for name in latency_s.keys() - names]
            return bool(min(others_s) > 3 * max(latency_s[name] for name in names))

        await self.until(quickest)

    async def metric(self, name: str, by: str = "chain", **labels: str) -> dict[str, float]:
        """Values of one metric's samples with these labels, summed per value of the label `by`."""
        # All of them would be rendered and read in a tenth of a second, and this is asked for again and again.
        wanted = {"name[]": f"cryptowatch_{name}"}
        async with self._session.get(f"{self.backend.url}/metrics", params=wanted) as answer:
            text = await answer.text()
        found: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == f"cryptowatch_{name}" and labels.items() <= sample.labels.items():
                    key = sample.labels.get(by, "")
                    found[key] = found.get(key, 0) + sample.value
        return found

    async def gauge(self, name: str, expected: dict[str, float], **labels: str) -> None:
        """Wait until a gauge that is read from the database in rounds shows this, by chain."""

        async def shows() -> bool:
            return await self.metric(name, **labels) == expected

        await self.until(shows)

    # --- reading --------------------------------------------------------------------------------------------

    async def story(self, entity_id: str) -> list[str]:
        """Types of an entity's events without their prefix; versions must count 1, 2, 3 … (P8)."""
        rows = await self.pool.fetch(
            "SELECT type, entity_version FROM event WHERE entity_id = $1 ORDER BY entity_version", entity_id
        )
        assert [row["entity_version"] for row in rows] == list(range(1, len(rows) + 1))
        return [row["type"].partition(".")[2] for row in rows]

    async def resume(self, chain: str = CHAIN, *, accept_reorg: bool = False) -> None:
        """What `cryptowatch resume` does: a person's word."""
        async with transaction(self.pool) as conn:
            assert await resume(conn, chain, accept_reorg, SystemClock().now())

    async def withdrawal(self, withdrawal_id: str) -> dict[str, Any]:
        found: dict[str, Any] = (await self.backend.get(f"/v1/withdrawals/{withdrawal_id}")).body
        return found

    async def reaches(self, withdrawal_id: str, state: str) -> dict[str, Any]:
        """Wait until a withdrawal is in a state."""

        async def there() -> dict[str, Any] | None:
            found = await self.withdrawal(withdrawal_id)
            return found if found["state"] == state else None

        return await self.until(there)

    async def sent(self, withdrawal_id: str) -> str:
        """Wait until most nodes have a withdrawal's transaction; its hash."""

        async def there() -> str | None:
            found = await self.withdrawal(withdrawal_id)
            if found["state"] != "sending":
                return None
            # Read anew each time: a replacement has another hash.
            tx_hash = str(found["tx_hash"])
            held = [tx_hash in await node.rpc("getrawmempool") for node in self.net.bitcoin]
            return tx_hash if sum(held) > len(held) // 2 else None

        return await self.until(there)

    async def mine_empty(self, blocks: int = 1) -> None:
        """Blocks without any transaction: what is pending stays so. The daemon has applied them."""
        for _ in range(blocks):
            await self.mine_only([])

    async def mine_only(self, transactions: Collection[str]) -> None:
        """One block of these, pending (hash) or not (raw hex)."""
        await self.net.bitcoin[0].rpc("generateblock", strangers_address(), list(transactions))

        async def everywhere() -> bool:
            return len({await node.rpc("getbestblockhash") for node in self.net.bitcoin}) == 1

        await self.until(everywhere)
        await self.caught_up()

    async def finished(self, *withdrawal_ids: str) -> None:
        """Wait until the withdrawals are sent, and mine until they are final."""
        for withdrawal_id in withdrawal_ids:
            await self.sent(withdrawal_id)
        await self.mine(FINAL)
        for withdrawal_id in withdrawal_ids:
            await self.reaches(withdrawal_id, "finalized")

    async def mine_until_final(self, withdrawal_ids: Collection[str], *, blocks_max: int = 60) -> None:
        """For withdrawals that may be anywhere on their way."""
        for _ in range(blocks_max):
            states = {(await self.withdrawal(withdrawal_id))["state"] for withdrawal_id in withdrawal_ids}
            if states <= {"finalized"}:
                return
            await self.polled(2)
            await self.mine()
        raise AssertionError(f"after {blocks_max} blocks: {states}")

    async def is_pending(self, tx_hash: str) -> bool:
        return tx_hash in await self.net.bitcoin[0].rpc("getrawmempool")

    async def pending_everywhere(self, tx_hash: str) -> None:
        async def there() -> bool:
            return all([tx_hash in await node.rpc("getrawmempool") for node in self.net.bitcoin])

        await self.until(there)

    async def writes_off(self, asset: str = ASSET, chain: str = CHAIN) -> int:
        """Wait until the asset's payouts are stopped, and write off what is missing; how much."""

        async def stopped() -> bool:
            found = await self.pool.fetchval("SELECT stopped_assets FROM chain WHERE chain = $1", chain)
            return asset in found

        await self.until(stopped)
        async with self.pool.acquire() as reader:
            positions = await read_positions(reader)
        [position] = [one for one in positions if (one.chain, one.asset) == (chain, asset)]
        async with transaction(self.pool) as conn:
            return await write_off(conn, position, "stolen", SystemClock().now())

    # --- players --------------------------------------------------------------------------------------------

    async def player(self, currency: Currency = BTC) -> Player:
        answer = await self.backend.post("/v1/accounts", {"external_id": uuid.uuid4().hex})
        assert answer.status == 201, answer
        return Player(self, str(answer.body["id"]), currency)

    async def deposited(self, amount: str, confirmations: int) -> tuple[Player, str]:
        """A player whose only deposit was seen in the mempool and has so many confirmations; its hash."""
        player = await self.player()
        tx_hash = await self.net.send(await player.address(), amount)
        await player.reaches("detected")
        if confirmations:
            await self.mine(confirmations)
        return player, tx_hash

    async def rich_player(self, *coins: str) -> Player:
        """One with these deposits, all final."""
        player = await self.player()
        await self.net.send_many({await player.address(): amount for amount in coins})
        await self.mine(FINAL)
        assert (await player.balance()).withdrawable == sum(map(sat, coins))
        return player


def merged(document: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Nested: tables are merged, anything else is replaced."""
    found = dict(document)
    for key, value in overrides.items():
        if isinstance(value, Mapping) and isinstance(found.get(key), Mapping):
            found[key] = merged(found[key], value)
        else:
            found[key] = value
    return found


def toml(value: object) -> str:
    """A value as TOML: JSON's strings, numbers and booleans are TOML's."""
    match value:
        case Mapping():
            return "{" + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(map(toml, value)) + "]"
        case _:
            return json.dumps(value)


async def waiting_for_locks(conn: Any, count: int) -> bool:
    found = await conn.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    return bool(found == count)
