"""The settings of a chain of accounts: what cannot be meant is named before anything is started."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cryptowatch.chains.connect import connect
from cryptowatch.errors import SettingsError
from cryptowatch.settings import load_settings
from cryptowatch.settings.chains import BitcoinSettings, EthereumSettings
from tests.chains.families import EXAMPLE
from tests.support.wallet import ACCOUNTS

TEXT = EXAMPLE.read_text(encoding="utf-8").replace(
    'xpub_bip44 = "FILL-IN-what-wallet-create-keystore-printed"',
    f'xpub_bip44 = "{ACCOUNTS.xpubs("main")["bip44"]}"',
)
USDT = 'contract = "0xdAC17F958D2ee523a2206206994597C13D831ec7"\n'
#: A second token, for settings in which two are needed.
USDC = """
[chains.ethereum.assets.USDC]
contract = "{contract}"
decimals = 6
withdrawal_min = "10"
withdrawal_max = "50000"
tiers = [{{ credit_confirmations = 3, finalize_confirmations = 64 }}]
"""
#: A second chain, from the first one's table.
_, _, ETHEREUM = TEXT.partition("[chains.ethereum]\n")


def load(tmp_path: Path, text: str) -> Mapping[str, Any]:
    config = tmp_path / "settings.toml"
    config.write_text(text)
    return load_settings(config).chains


def problem(tmp_path: Path, text: str) -> SettingsError:
    with pytest.raises(SettingsError) as refused:
        load(tmp_path, text)
    return refused.value


def in_ethereum(right: str, wrong: str) -> str:
    """The example with one place of the Ethereum chain's changed."""
    head, table, tail = TEXT.partition("[chains.ethereum]\n")
    assert right in tail
    return head + table + tail.replace(right, wrong, 1)


def second_chain(name: str, *changes: tuple[str, str]) -> str:
    table = ETHEREUM.replace("chains.ethereum", f"chains.{name}")
    for right, wrong in changes:
        assert right in table
        table = table.replace(right, wrong, 1)
    return f"{TEXT}\n[chains.{name}]\n{table}"


def test_the_example_is_a_chain_of_each_family(tmp_path: Path) -> None:
    found = load(tmp_path, TEXT)
    assert isinstance(found["bitcoin"], BitcoinSettings) and isinstance(found["ethereum"], EthereumSettings)
    assert tomllib.loads(TEXT).keys() >= {"signer", "chains"}


@pytest.mark.parametrize(
    ("right", "wrong", "key", "why"),
    [
        ('family = "ethereum"', 'family = "tron"', "chains.ethereum", "tron"),
        ("chain_id = 1\n", "chain_id = 0\n", "chains.ethereum.chain_id", "greater than 0"),
        ("chain_id = 1\n", "", "chains.ethereum.chain_id", "required"),
        ('finality = "finalized"', 'finality = "soon"', "chains.ethereum.finality", "depth"),
        ("traces = false", "trace = false", "chains.ethereum.trace", "not permitted"),
        ("quorum = 2", "quorum = 1", "chains.ethereum", "quorum: must be a majority"),
        ('asset = "ETH"', 'asset = "BNB"', "chains.ethereum", "BNB is missing"),
        ("hot_accounts = 2", "hot_accounts = 17", "chains.ethereum.wallet.hot_accounts", "16"),
        ("in_flight_max = 16", "in_flight_max = 17", "chains.ethereum.wallet.in_flight_max", "16"),
        ("sweep_count_max = 100", "sweep_count_max = 201", "chains.ethereum.wallet.sweep_count_max", "200"),
        ("sweep_count_max = 100", "sweep_count_max = 130", "chains.ethereum", "wallet.sweep_count_max"),
        ("count_max = 100\n# Seconds", "count_max = 190\n# Seconds", "chains.ethereum", "batching.count_max"),
        ("token_payment = 90000", "token_payment = 0", "chains.ethereum.gas.token_payment", "greater than 0"),
        ('payouts = "0x', 'payouts = "', "chains.ethereum.contracts.payouts", "pattern"),
        ('payouts = "0x', 'payout = "0x', "chains.ethereum.contracts.payouts", "required"),
        ('cap_gwei = "300"', 'cap_gwei = "19"', "chains.ethereum.fees", "cap_gwei must hold"),
        ('tip_floor_gwei = "0.05"', 'tip_floor_gwei = "2"', "chains.ethereum.fees", "tip_floor_gwei <="),
        ('tip_floor_gwei = "0.05"', 'tip_floor_gwei = "0.0000000001"', "fees.tip_floor_gwei", "9"),
        ('tip_floor_gwei = "0.05"', 'tip_floor_gwei = "-1"', "fees.tip_floor_gwei", "0"),
        (USDT, "", "chains.ethereum", "assets.USDT.contract"),
        (USDT, 'contract = "0x00"\n', "chains.ethereum.assets.USDT.contract", "pattern"),
        ("decimals = 18\n", f"decimals = 18\n{USDT}", "chains.ethereum", "assets.ETH.contract"),
        ("decimals = 6\n", "decimals = 6\nchain_decimals = 7\n", "assets.USDT", "raise decimals"),
        ("decimals = 6\n", "decimals = 37\n", "chains.ethereum.assets.USDT.decimals", "36"),
        ('sweep_min = "50"', "sweep_min = 50", "chains.ethereum.assets.USDT.sweep_min", "string"),
        ('sweep_min = "50"', 'sweep_min = "0.0000001"', "assets.USDT", "sweep_min"),
        ('withdrawal_min = "10"', 'withdrawal_min = "0"', "assets.USDT", "withdrawal_min"),
        ('reconcile_tolerance = "0"', 'reconcile_tolerance = "-1"', "assets", "reconcile_tolerance"),
        (
            'reconcile_tolerance = "0"',
            f'reconcile_tolerance = "0.{"0" * 40}1"',
            "assets",
            "reconcile_tolerance",
        ),
        ("sending_accounts = []", f'sending_accounts = ["0x{"ab" * 20}", "0x{"AB" * 20}"]', "wallet", "once"),
        ("sending_accounts = []", 'sending_accounts = ["0x12"]', "wallet.sending_accounts", "pattern"),
    ],
)
def test_a_wrong_key_or_value_is_named(tmp_path: Path, right: str, wrong: str, key: str, why: str) -> None:
    refused = problem(tmp_path, in_ethereum(right, wrong))
    assert key in refused.key
    assert why in str(refused)


@pytest.mark.parametrize("amount", ["withdrawal_min", "withdrawal_max", "sweep_min"])
def test_an_amount_that_the_chain_cannot_express_is_named(tmp_path: Path, amount: str) -> None:
    value = {"withdrawal_min": "10", "withdrawal_max": "50000", "sweep_min": "50"}[amount]
    text = in_ethereum("decimals = 6\n", "decimals = 6\nchain_decimals = 2\n")
    load(tmp_path, text)
    assert f"{amount}: " in str(
        problem(tmp_path, text.replace(f'{amount} = "{value}"', f'{amount} = "{value}.001"'))
    )


@pytest.mark.parametrize("spelled", [str, str.lower])
def test_two_tokens_with_one_contract_are_refused(tmp_path: Path, spelled: Any) -> None:
    contract = "0x" + spelled("dAC17F958D2ee523a2206206994597C13D831ec7")
    assert "the same contract" in str(problem(tmp_path, TEXT + USDC.format(contract=contract)))
    load(tmp_path, TEXT + USDC.format(contract="0x" + "11" * 20))


def test_an_asset_counts_alike_on_every_chain(tmp_path: Path) -> None:
    """One balance in the ledger: a chain that counts otherwise says so by chain_decimals."""
    other = second_chain("bsc", ("chain_id = 1\n", "chain_id = 56\n"), ("decimals = 6\n", "decimals = 18\n"))
    assert "assets.USDT.decimals: differs" in str(problem(tmp_path, other))
    alike = other.replace("decimals = 6\n", "decimals = 18\nchain_decimals = 6\n", 1)
    found = load(tmp_path, alike)
    assert [found[name].assets["USDT"].scale for name in ("ethereum", "bsc")] == [12, 0]


def test_one_network_under_two_names_is_refused(tmp_path: Path) -> None:
    """P2: it would credit every deposit twice."""
    assert "chains.again: is the same network as chains.ethereum" in str(
        problem(tmp_path, second_chain("again"))
    )
    assert load(tmp_path, second_chain("other", ("chain_id = 1\n", "chain_id = 10\n"))).keys() >= {"other"}


@pytest.mark.parametrize(
    ("right", "wrong", "key"),
    [
        (
            USDT,
            'contract = "0xDAC17F958D2ee523a2206206994597C13D831ec7"\n',
            "chains.ethereum.assets.USDT.contract",
        ),
        (
            'sweeper = "0x0000000000000000000000000000000000000000"',
            'sweeper = "0xDAC17F958D2ee523a2206206994597C13D831ec7"',
            "chains.ethereum.contracts.sweeper",
        ),
    ],
)
def test_a_mistyped_contract_is_named_at_the_start(tmp_path: Path, right: str, wrong: str, key: str) -> None:
    """A token at a wrong address is one that nobody ever deposits."""
    chain = load(tmp_path, in_ethereum(right, wrong))["ethereum"]
    with pytest.raises(SettingsError) as refused:
        connect("ethereum", chain)
    assert refused.value.key == key
    connect("ethereum", load(tmp_path, in_ethereum(right, wrong.lower()))["ethereum"])


def test_a_public_key_that_is_none_is_named(tmp_path: Path) -> None:
    chain = load(tmp_path, EXAMPLE.read_text(encoding="utf-8"))["ethereum"]
    with pytest.raises(SettingsError) as refused:
        connect("ethereum", chain)
    assert refused.value.key == "chains.ethereum.wallet.xpub_bip44"
