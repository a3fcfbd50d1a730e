"""A devnet of one's own: the files it leaves, and a folder that is used again."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from cryptowatch import devnet
from cryptowatch.devnet.client import Net
from cryptowatch.errors import OperatorError
from cryptowatch.settings import load_settings
from cryptowatch.settings.chains import BitcoinSettings
from cryptowatch.signing.configure import open_accounts
from cryptowatch.signing.keystore import read_keystore, read_passphrase

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def folder(tmp_path: Path) -> AsyncIterator[Path]:
    yield tmp_path / "devnet"


async def test_its_document_has_all_that_the_contract_names(net: Net) -> None:
    document = json.loads((net.folder / "devnet.json").read_text())
    assert set(document) == {
        "postgres_dsn",
        "api_url",
        "api_key",
        "approver_key",
        "control_url",
        "bitcoin",
        "ethereum",
        "tokens",
        "evm_chains",
        "faucet",
    }
    assert [set(node) for node in document["bitcoin"]] == [{"rpc_url", "direct_rpc_url"}] * 3
    assert document["faucet"]["bitcoin_wallet"] in await net.bitcoin[0].rpc("listwallets")


async def test_files_with_secrets_are_closed_to_others(net: Net) -> None:
    names = ["devnet.json", "cryptowatch.toml", "keystore.json", "passphrase", "api-keys.json"]
    for name in [*names, "bitcoin/0/bitcoin.conf", "bitcoin/0/rpc.auth"]:
        assert (net.folder / name).stat().st_mode & 0o077 == 0, name


async def test_its_settings_are_ready_for_daemon_and_signer(net: Net) -> None:
    settings = load_settings(net.settings_file)
    chain = settings.chains["bitcoin"]
    assert settings.database.dsn == net.postgres_dsn
    assert [node.url.rpartition(":")[2] for node in chain.nodes] == [
        node.rpc_url.rpartition(":")[2] for node in net.bitcoin
    ]
    keystore = read_keystore(settings.signer.keystore, read_passphrase(settings.signer.passphrase_file))
    assert isinstance(chain, BitcoinSettings)
    xpubs = open_accounts(keystore, "bitcoin", chain.network).xpubs(chain.network)
    assert (xpubs["bip84"], xpubs["bip86"]) == (chain.wallet.xpub_bip84, chain.wallet.xpub_bip86)


async def test_a_folder_used_before_is_taken_up_where_it_was_left(folder: Path) -> None:
    async with devnet.up(folder, bitcoin_nodes=2, fast_unsafe_postgres=True) as net:
        [mined] = await net.mine()
        keys = (folder / "keystore.json").read_bytes()
        connection = await asyncpg.connect(net.postgres_dsn)
        await connection.execute("CREATE TABLE kept (n int)")
        await connection.close()
        with pytest.raises(OperatorError, match="already"):
            async with devnet.up(folder):
                pass
    assert not (folder / "devnet.json").exists()
    with pytest.raises(OperatorError, match="no devnet"):
        devnet.connect(folder)
    async with devnet.up(folder, bitcoin_nodes=2, stream=True, fast_unsafe_postgres=True) as net:
        assert (await net.bitcoin[1].rpc("getblockheader", mined))["confirmations"] >= 1
        assert await net.send(await net.bitcoin[0].rpc("getnewaddress"), "1")
        assert (folder / "keystore.json").read_bytes() == keys
        assert load_settings(net.settings_file).stream.url == net.nats_url
        for lever, runs in ((net.kill, False), (net.start, True)):
            await lever("nats")
            found = {row["process"]: row["running"] for row in await net.processes()}
            assert found["nats"] is runs
        connection = await asyncpg.connect(net.postgres_dsn)
        assert await connection.fetchval("SELECT count(*) FROM kept") == 0
        await connection.close()


async def test_block_time_mines_by_itself(folder: Path) -> None:
    async with devnet.up(
        folder, bitcoin_nodes=1, ethereum={"ethereum": 1}, block_time_s=0.05, fast_unsafe_postgres=True
    ) as net:
        height = await net.bitcoin[0].rpc("getblockcount")
        number = int(await net.evm["ethereum"].nodes[0].rpc("eth_blockNumber"), 16)
        await net.bitcoin[0].rpc("waitforblockheight", height + 8, 10_000)
        assert await net.bitcoin[0].rpc("getblockcount") >= height + 8
        assert int(await net.evm["ethereum"].nodes[0].rpc("eth_blockNumber"), 16) >= number + 2


async def test_an_ethereum_chain_is_taken_up_where_it_was_left(folder: Path) -> None:
    player = "0x" + "5a" * 20

    async with devnet.up(folder, bitcoin_nodes=1, ethereum={"ethereum": 2}, fast_unsafe_postgres=True) as net:
        paid = await net.send(player, "2", chain="ethereum", asset="USDT")
        await net.mine(3, chain="ethereum")
        await net.reorg(1, chain="ethereum")
        head = (await net.evm["ethereum"].nodes[0].rpc("eth_getBlockByNumber", "latest", False))["hash"]
    async with devnet.up(folder, bitcoin_nodes=1, ethereum={"ethereum": 2}, fast_unsafe_postgres=True) as net:
        for node in net.evm["ethereum"].nodes:
            assert (await node.rpc("eth_getBlockByNumber", "latest", False))["hash"] == head
            assert (await node.rpc("eth_getTransactionReceipt", "0x" + paid))["status"] == "0x1"
        assert await net.send(player, "1", chain="ethereum", asset="USDC")
        assert await net.reorg(4, [paid], chain="ethereum"), "the past can be changed as before"


async def test_without_being_asked_for_no_ethereum_node_starts(net: Net) -> None:
    assert net.evm == {}
    assert not [row for row in await net.processes() if "ethereum" in row["process"]]
    with pytest.raises(OperatorError, match="there are: none"):
        await net.mine(chain="ethereum")
