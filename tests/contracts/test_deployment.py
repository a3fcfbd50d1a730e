"""`cryptowatch contracts`: what it prints deploys what the daemon looks for, and nothing else passes for it."""

import json
import re
import secrets
from pathlib import Path

import pytest
from eth_account import Account
from typer.testing import CliRunner, Result

from cryptowatch.chains.connect import ConnectedChain, connect
from cryptowatch.chains.port import AccountNode
from cryptowatch.cli.commands import command_line
from cryptowatch.devnet.client import Net
from cryptowatch.devnet.ethereum.actor import GAS_MAX
from cryptowatch.devnet.ethereum.transactions import signed
from cryptowatch.settings import load_settings
from tests.contracts.conftest import CHAIN, World
from tests.support.wallet import ACCOUNTS

NOT_YET = "0x" + "00" * 20
EXAMPLE = Path(__file__).parents[2] / "config" / "cryptowatch.example.toml"


def run(config: Path, chain: str = CHAIN, *options: str) -> Result:
    return CliRunner().invoke(command_line(), ["contracts", chain, "--config", str(config), *options])


def printed(config: Path) -> dict[str, str]:
    result = run(config, CHAIN, "--json")
    assert result.exit_code == 0, result.stderr
    found: dict[str, str] = json.loads(result.stdout)
    return found


def filled_in(config: Path, **deployed: str) -> None:
    """The settings with these addresses of the chain's contracts."""
    before, table, after = config.read_text().partition(f"[chains.{CHAIN}.contracts]\n")
    for key, address in deployed.items():
        after = re.sub(rf'^{key} = ".*"$', f'{key} = "{address}"', after, count=1, flags=re.MULTILINE)
    config.write_text(before + table + after)


@pytest.fixture
def config(evm_net: Net, tmp_path: Path) -> Path:
    """The devnet's settings before anything was deployed, for a wallet of its own."""
    text = evm_net.settings_file.read_text()
    xpub = ACCOUNTS.xpubs("main")["bip44"]
    made = tmp_path / "settings.toml"
    made.write_text(re.sub(r'^xpub_bip44 = ".*"$', f'xpub_bip44 = "{xpub}"', text, flags=re.MULTILINE))
    filled_in(made, payouts=NOT_YET, sweeper=NOT_YET, sweep_delegate=NOT_YET)
    return made


async def deployed(world: World, data: str) -> str:
    """By anybody with coins: the deployer has no part in what is deployed."""
    key = Account.from_key(secrets.token_bytes(32))
    await world.rich.execute(str(key.address), value_wei=10**18)
    fees = {"maxFeePerGas": 50 * 10**9, "maxPriorityFeePerGas": 10**9, "gas": GAS_MAX}
    chain_id = world.net.evm[CHAIN].chain_id
    made = signed(key, chain_id, nonce=0, data=bytes.fromhex(data[2:]), **fees)
    await world.net.broadcast(made.raw, chain=CHAIN)
    await world.net.mine(chain=CHAIN)
    receipt = await world.net.evm[CHAIN].nodes[0].rpc("eth_getTransactionReceipt", made.hash)
    assert receipt["status"] == "0x1"
    return str(receipt["contractAddress"])


def connected(config: Path) -> ConnectedChain:
    return connect(CHAIN, load_settings(config).chains[CHAIN])


async def codes(chain: ConnectedChain) -> dict[bytes, bytes]:
    """What the chain has at the addresses that the settings name."""
    node: AccountNode = chain.nodes[0]  # type: ignore[assignment]
    _, head = await node.head()
    found = {address: await node.code(address, head) for address in chain.contracts}
    await node.close()
    return found


async def test_what_is_printed_deploys_the_code_that_the_daemon_looks_for(world: World, config: Path) -> None:
    data = printed(config)
    assert data.keys() == {"payouts", "sweeper"}, "the delegate names the sweeper, so that comes first"
    filled_in(config, payouts=await deployed(world, data["payouts"]))
    filled_in(config, sweeper=await deployed(world, data["sweeper"]))
    data = printed(config)
    filled_in(config, sweep_delegate=await deployed(world, data["sweep_delegate"]))
    chain = connected(config)
    assert len(chain.contracts) == 3
    assert await codes(chain) == chain.contracts


async def test_another_wallets_contracts_are_not_taken_for_this_ones(evm_net: Net, config: Path) -> None:
    theirs = load_settings(evm_net.settings_file).chains[CHAIN]
    assert theirs.family == "ethereum" and theirs.contracts is not None
    filled_in(config, **theirs.contracts.model_dump())
    chain = connected(config)
    found = await codes(chain)
    assert all(found.values())
    assert [address for address, code in found.items() if code == chain.contracts[address]] == []


async def test_where_nothing_is_deployed_there_is_no_code(config: Path) -> None:
    chain = connected(config)
    assert set((await codes(chain)).values()) == {b""}


def test_people_are_shown_what_goes_where(config: Path) -> None:
    result = run(config)
    data = printed(config)
    assert result.exit_code == 0
    lines = result.stdout.split()
    assert lines == ["payouts", data["payouts"], "sweeper", data["sweeper"]]


@pytest.mark.parametrize(
    ("chain", "key"),
    [("ethereum", "chains.ethereum.wallet.xpub_bip44"), ("bitcoin", "CHAIN"), ("nowhere", "CHAIN")],
)
def test_wrong_settings_are_named(chain: str, key: str) -> None:
    """The example's public key is yet to be filled in."""
    result = run(EXAMPLE, chain)
    assert (result.exit_code, result.stderr.startswith(f"cryptowatch: setting {key}: ")) == (2, True), (
        result.stderr
    )
    assert len(result.stderr.splitlines()) == 1
