"""What a devnet puts into its folder: `devnet.json`, the daemon's settings and the wallet's keys.

Called by `network.up`. All files with secrets are mode 0600. Wallet keys and API keys are made once per
folder; addresses and node passwords are new at every start.
"""

import asyncio
import fcntl
import hashlib
import json
import os
import secrets
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg

from cryptowatch.api.keys import SECRET_BYTES, Scope, create_key
from cryptowatch.db.migrate import migrate
from cryptowatch.devnet.client import Net, net_of
from cryptowatch.devnet.ethereum.faucet import PRIVATE_KEY as ETHEREUM_FAUCET_KEY
from cryptowatch.devnet.ethereum.network import FIRST_CHAIN_ID, EvmNetwork
from cryptowatch.devnet.ethereum.wallet import WalletContracts
from cryptowatch.devnet.faucet import WALLET as FAUCET_WALLET
from cryptowatch.devnet.keys import WalletKeys
from cryptowatch.devnet.nodes import BitcoinNode, write_private
from cryptowatch.devnet.processes import Program
from cryptowatch.devnet.proxy import FaultProxy
from cryptowatch.errors import OperatorError
from cryptowatch.ids import derived_id
from cryptowatch.leash import leashed

DOCUMENT, SETTINGS = "devnet.json", "cryptowatch.toml"
_SOCKET_PATH_LENGTH_MAX = 107

# Timings are short: a person or a test is waiting.
_SETTINGS = """\
# Written by `cryptowatch devnet up`, anew at every start. A private network: nothing here is worth anything.
[database]
dsn = {dsn}
migrate = true

[api]
host = "127.0.0.1"
port = {api_port}

[webhooks]
allow_private_addresses = true
timeout_s = 2
schedule_s = [1, 2, 5, 10, 30]

[referrals]
poll_interval_s = 0.25

[agents]
period = "day"
hold_s = 0
approval = false

[treasury]
reconcile_interval_s = 1
audit_interval_s = 2

[signer]
socket = {socket}
keystore = {keystore}
passphrase_file = {passphrase_file}
log = {signer_log}
"""
_BITCOIN = """
[signer.policy.bitcoin]
transaction_amount_max = "100"
hourly_amount_max = "1000"

[chains.bitcoin]
network = "regtest"
quorum = {quorum}
start_height = {start_height}
poll_interval_s = 0.25
mempool_interval_s = 0.25
request_timeout_s = 5
quarantine_s = 5

[chains.bitcoin.wallet]
xpub_bip84 = {xpub_bip84}
xpub_bip86 = {xpub_bip86}

[chains.bitcoin.batching]
wait_max_s = 1

[chains.bitcoin.assets.BTC]
withdrawal_min = "0.0001"
withdrawal_max = "10"
withdrawal_fee = "0.00005"

[[chains.bitcoin.assets.BTC.tiers]]
up_to = "1"
credit_confirmations = 1
finalize_confirmations = 3

[[chains.bitcoin.assets.BTC.tiers]]
credit_confirmations = 2
finalize_confirmations = 6
"""
_NODE = """
[[chains.bitcoin.nodes]]
name = {name}
url = {url}
auth_file = {auth_file}
"""

_STREAM = """
[stream]
url = {nats_url}
timeout_s = 2
"""

#: A devnet's wallet sends from so many accounts.
HOT_ACCOUNTS = 2
_EVM = """
[signer.policy.{name}]
fee_max = "4"
hourly_fee_max = "20"

[signer.policy.{name}.assets]
ETH = {{ transaction_amount_max = "1000", hourly_amount_max = "10000" }}
USDT = {{ transaction_amount_max = "1000000", hourly_amount_max = "10000000" }}
USDC = {{ transaction_amount_max = "1000000", hourly_amount_max = "10000000" }}

[chains.{name}]
family = "ethereum"
chain_id = {chain_id}
finality = "{finality}"
traces = true
quorum = {quorum}
poll_interval_s = 0.25
mempool_interval_s = 0.25
request_timeout_s = 5
quarantine_s = 5

[chains.{name}.wallet]
xpub_bip44 = {xpub_bip44}
hot_accounts = {hot_accounts}
sweep_interval_s = 1

[chains.{name}.contracts]
payouts = {payouts}
sweeper = {sweeper}
sweep_delegate = {sweep_delegate}

[chains.{name}.batching]
wait_max_s = 1

[chains.{name}.assets.ETH]
withdrawal_min = "0.001"
withdrawal_max = "100"
withdrawal_fee = "0.0005"
sweep_min = "0.01"
tiers = [
    {{ up_to = "10", credit_confirmations = 1, finalize_confirmations = 3 }},
    {{ credit_confirmations = 2, finalize_confirmations = 6 }},
]

[chains.{name}.assets.USDT]
contract = {usdt}
decimals = {usdt_decimals}
chain_decimals = {usdt_chain_decimals}
withdrawal_min = "1"
withdrawal_max = "100000"
withdrawal_fee = "0.5"
sweep_min = "5"
tiers = [{{ credit_confirmations = 1, finalize_confirmations = 3 }}]

[chains.{name}.assets.USDC]
contract = {usdc}
decimals = 6
withdrawal_min = "1"
withdrawal_max = "100000"
withdrawal_fee = "0.5"
sweep_min = "5"
tiers = [{{ credit_confirmations = 1, finalize_confirmations = 3 }}]
"""
_EVM_NODE = """
[[chains.{chain}.nodes]]
name = {name}
url = {url}
"""

_SCOPES: dict[str, list[Scope]] = {
    "api_key": [*(scope for scope in Scope if scope not in (Scope.APPROVALS, Scope.TREASURY))],
    "approver_key": [Scope.READ, Scope.APPROVALS],
}


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """The folder is ours alone; `devnet.json` is there while the network runs. Raises OperatorError."""
    with (folder / "lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as problem:
            raise OperatorError(f"a devnet runs in {folder} already") from problem
        (folder / DOCUMENT).unlink(missing_ok=True)
        try:
            yield
        finally:
            (folder / DOCUMENT).unlink(missing_ok=True)


def write(
    folder: Path,
    *,
    dsn: str,
    api_keys: Mapping[str, str],
    control_url: str,
    api_port: int,
    proxies: Sequence[FaultProxy[BitcoinNode]],
    evm: Mapping[str, EvmNetwork],
    keys: WalletKeys,
    contracts: Mapping[str, WalletContracts],
    start_height: int,
    nats_url: str | None,
) -> Net:
    """Writes all files; answers the network as its users see it."""
    evm_chains = {name: _evm_document(network) for name, network in evm.items()}
    first: dict[str, Any] = next(iter(evm_chains.values()), {"nodes": [], "tokens": {}})
    document: dict[str, Any] = {
        "postgres_dsn": dsn,
        "api_url": f"http://127.0.0.1:{api_port}",
        **api_keys,
        "control_url": control_url,
        "bitcoin": _node_documents(proxies),
        "ethereum": first["nodes"],
        "tokens": first["tokens"],
        "evm_chains": evm_chains,
        "faucet": {"bitcoin_wallet": FAUCET_WALLET, "ethereum_private_key": ETHEREUM_FAUCET_KEY},
    }
    if nats_url is not None:
        document["nats_url"] = nats_url
    sections = [
        _SETTINGS.format(api_port=api_port, **_quoted(_texts(folder, dsn, keys))),
        _bitcoin_section(proxies, keys, start_height),
        *(_evm_section(name, network, keys, contracts[name]) for name, network in evm.items()),
        "" if nats_url is None else _STREAM.format(**_quoted({"nats_url": nats_url})),
    ]
    write_private(folder / SETTINGS, "".join(sections))
    # Whoever waits for the file shall find it whole.
    write_private(folder / f"{DOCUMENT}.unfinished", json.dumps(document, indent=2) + "\n")
    (folder / f"{DOCUMENT}.unfinished").rename(folder / DOCUMENT)
    return net_of(folder, document)


def _node_documents(proxies: Sequence[FaultProxy[Any]]) -> list[dict[str, str]]:
    return [{"rpc_url": proxy.url, "direct_rpc_url": proxy.node.url} for proxy in proxies]


def _evm_document(network: EvmNetwork) -> dict[str, Any]:
    return {
        "chain_id": network.chain.chain_id,
        "nodes": _node_documents(network.proxies),
        "tokens": dict(network.faucet.tokens),
    }


def _bitcoin_section(proxies: Sequence[FaultProxy[BitcoinNode]], keys: WalletKeys, start_height: int) -> str:
    """What the settings say of the chain: its part of the signer's policy included."""
    xpubs = {"xpub_bip84": keys.xpub_bip84, "xpub_bip86": keys.xpub_bip86}
    text = _BITCOIN.format(quorum=len(proxies) // 2 + 1, start_height=start_height, **_quoted(xpubs))
    for proxy in proxies:
        node = {
            "name": f"bitcoin-{proxy.node.index}",
            "url": proxy.address,
            "auth_file": str(proxy.node.auth_file),
        }
        text += _NODE.format(**_quoted(node))
    return text


def _evm_section(name: str, network: EvmNetwork, keys: WalletKeys, contracts: WalletContracts) -> str:
    """The same for a chain of Ethereum's kind. The second and later ones have their own rule of what is final."""
    first = network.chain.chain_id == FIRST_CHAIN_ID
    text = _EVM.format(
        name=name,
        chain_id=network.chain.chain_id,
        quorum=len(network.proxies) // 2 + 1,
        hot_accounts=HOT_ACCOUNTS,
        finality="finalized" if first else "depth",
        usdt_decimals=18,
        usdt_chain_decimals=6 if first else 18,
        **_quoted(
            {
                "xpub_bip44": keys.xpub_bip44,
                "payouts": contracts.payouts,
                "sweeper": contracts.sweeper,
                "sweep_delegate": contracts.sweep_delegate,
                "usdt": network.faucet.tokens["USDT"],
                "usdc": network.faucet.tokens["USDC"],
            }
        ),
    )
    for proxy in network.proxies:
        node = {"name": f"{name}-{proxy.node.index}", "url": proxy.address}
        text += _EVM_NODE.format(chain=name, **_quoted(node))
    return text


def daemon_programs(folder: Path, net: Net) -> list[Program]:
    """Signer and daemon as a user would start them."""
    settings = str(folder / SETTINGS)
    signer = leashed([sys.executable, "-m", "cryptowatch", "signer", "--config", settings])
    daemon = leashed([sys.executable, "-m", "cryptowatch", "run", "--config", settings])
    # Found wherever this very package was found, also when that is a work tree.
    package_root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [package_root, os.environ.get("PYTHONPATH", "")]))
    environment = {**os.environ, "PYTHONPATH": path}

    async def signer_ready() -> bool:
        try:
            _, writer = await asyncio.open_unix_connection(signer_socket(folder))
        except OSError:
            return False
        writer.close()
        return True

    async def daemon_ready() -> bool:
        try:
            timeout = aiohttp.ClientTimeout(total=5)
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.get(net.api_url + "/health/ready") as answer,
            ):
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    return [
        Program("signer", tuple(signer), folder / "signer.log", ready=signer_ready, environment=environment),
        Program("daemon", tuple(daemon), folder / "daemon.log", ready=daemon_ready, environment=environment),
    ]


def signer_socket(folder: Path) -> Path:
    """In the folder, or in a private temporary one when that path is too long for a socket."""
    wanted = folder / "signer.sock"
    if len(os.fsencode(wanted)) <= _SOCKET_PATH_LENGTH_MAX:
        return wanted
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    short = Path(tempfile.gettempdir()) / f"cryptowatch-devnet-{os.geteuid()}-{digest}"
    short.mkdir(mode=0o700, exist_ok=True)
    return short / "signer.sock"


async def make_api_keys(folder: Path, dsn: str) -> dict[str, str]:
    """The casino backend's key and another for approvals, made once per folder and known to the database."""
    path = folder / "api-keys.json"
    if path.exists():
        return dict(json.loads(path.read_text(encoding="utf-8")))
    await asyncio.to_thread(migrate, dsn)
    keys, now = {}, datetime.now(UTC)
    connection = await asyncpg.connect(dsn)
    try:
        for name, scopes in _SCOPES.items():
            keys[name], _ = await create_key(
                connection,
                derived_id(now, secrets.token_bytes(16)),
                secrets.token_bytes(SECRET_BYTES),
                name=f"devnet {name}",
                scopes=scopes,
                expires_at=None,
                now=now,
            )
    finally:
        await connection.close()
    write_private(path, json.dumps(keys) + "\n")
    return keys


def _texts(folder: Path, dsn: str, keys: WalletKeys) -> dict[str, str]:
    return {
        "dsn": dsn,
        "socket": str(signer_socket(folder)),
        "keystore": str(keys.keystore),
        "passphrase_file": str(keys.passphrase_file),
        "signer_log": str(folder / "signer-log.jsonl"),
    }


def _quoted(texts: dict[str, str]) -> dict[str, str]:
    """As TOML strings: JSON's escapes are a part of TOML's."""
    return {name: json.dumps(text, ensure_ascii=False) for name, text in texts.items()}
