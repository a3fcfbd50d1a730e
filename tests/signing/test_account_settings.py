"""From settings to a signer of a chain of accounts: what cannot work is named at the start, not at a payout."""

from pathlib import Path
from typing import Any

import pytest
from embit import bip32

from cryptowatch.clock import SystemClock
from cryptowatch.errors import OperatorError, SettingsError
from cryptowatch.settings import load_settings
from cryptowatch.settings.chains import EthereumSettings
from cryptowatch.settings.signer import AccountPolicy, Kms
from cryptowatch.signing.configure import account_facts, open_service, read_account_limits
from cryptowatch.signing.keystore import KeystoreError, KeystoreSecrets, write_keystore
from tests.chains.families import EXAMPLE
from tests.support.wallet import ACCOUNTS, MNEMONIC

SETTINGS = load_settings(EXAMPLE)
POLICY, CHAIN = SETTINGS.signer.policy["ethereum"], SETTINGS.chains["ethereum"]
assert isinstance(POLICY, AccountPolicy) and isinstance(CHAIN, EthereumSettings)
VAULT = b"\x01" * 20
NAMED = "0xdAC17F958D2ee523a2206206994597C13D831ec7"


def policy(**changes: Any) -> AccountPolicy:
    assert isinstance(POLICY, AccountPolicy)
    return AccountPolicy.model_validate(POLICY.model_dump() | changes)


def chain(**changes: Any) -> EthereumSettings:
    assert isinstance(CHAIN, EthereumSettings)
    return EthereumSettings.model_validate(CHAIN.model_dump() | changes)


def test_limits_are_in_base_units_of_each_asset() -> None:
    limits = read_account_limits("p", policy(allow_list=[NAMED]), chain())
    assert (limits.assets["ETH"].transaction_max, limits.assets["USDT"].hourly_max) == (
        50 * 10**18,
        200_000 * 10**6,
    )
    assert (limits.fee_max, limits.hourly_fee_max) == (4 * 10**18, 20 * 10**18)
    assert (limits.gas_price_max_wei, limits.batch_max) == (500 * 10**9, 200)
    assert limits.allowed == frozenset({bytes.fromhex(NAMED[2:])})
    assert read_account_limits("p", policy(), chain()).allowed is None


def one(transaction: str, hourly: str) -> dict[str, Any]:
    return {"ETH": {"transaction_amount_max": transaction, "hourly_amount_max": hourly}}


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"assets": one("2", "1")}, "p.assets.ETH.hourly_amount_max"),
        ({"assets": one("-2", "1")}, "p.assets.ETH.transaction_amount_max"),
        ({"assets": {"SHIB": one("1", "1")["ETH"]}}, "p.assets.SHIB"),
        ({"fee_max": "nothing"}, "p.fee_max"),
        ({"hourly_fee_max": "3.99"}, "p.hourly_fee_max"),
        ({"fee_max": "3.9"}, "p.fee_max"),
        ({"gas_price_max_gwei": "299"}, "p.gas_price_max_gwei"),
        ({"batch_max": 99}, "p.batch_max"),
        ({"allow_list": ["0xDAC17F958D2ee523a2206206994597C13D831ec7"]}, "p.allow_list"),
    ],
)
def test_a_wrong_limit_is_named(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read_account_limits("p", policy(**changes), chain())
    assert refused.value.key == key


def test_what_the_largest_transaction_may_cost_is_told() -> None:
    """100 accounts that all delegate anew, at 300 gwei: 13,060,000 gas."""
    read_account_limits("p", policy(fee_max="3.918"), chain())
    with pytest.raises(SettingsError, match=r"3\.918000000000000000"):
        read_account_limits("p", policy(fee_max="3.917"), chain())


@pytest.mark.parametrize(
    ("changes", "key"), [({"allow_list": [NAMED]}, "p.allow_list"), ({"assets": {}}, "p.assets.ETH")]
)
def test_without_delegation_deposit_accounts_must_be_able_to_get_gas(
    changes: dict[str, Any], key: str
) -> None:
    alone = chain(delegation=False)
    read_account_limits("p", policy(), alone)
    read_account_limits("p", policy(**changes), chain())
    with pytest.raises(SettingsError) as refused:
        read_account_limits("p", policy(**changes), alone)
    assert refused.value.key == key


CONTRACTS = {"payouts": "0x" + "11" * 20, "sweeper": "0x" + "22" * 20, "sweep_delegate": "0x" + "33" * 20}


def test_what_may_be_signed_for_is_in_the_settings() -> None:
    facts = account_facts(chain(contracts=CONTRACTS), VAULT)
    assert (facts.chain.payouts, facts.chain.sweeper, facts.delegate) == (
        b"\x11" * 20,
        b"\x22" * 20,
        b"\x33" * 20,
    )
    assert (facts.chain.vault, facts.chain.chain_id) == (VAULT, 1)


def test_contracts_that_are_not_filled_in_are_none() -> None:
    """Coins sent to the zero address are gone, and an authorization for it takes a delegation back."""
    for found in (chain(), chain(contracts=None)):
        facts = account_facts(found, VAULT)
        assert (facts.chain.payouts, facts.chain.sweeper, facts.delegate) == (None, None, None)


def test_where_the_chain_knows_no_delegation_nobody_delegates() -> None:
    assert account_facts(chain(contracts=CONTRACTS, delegation=False), VAULT).delegate is None


# --- the whole start ----------------------------------------------------------------------------------------


def started(
    folder: Path, secrets: KeystoreSecrets, chain: str = "ethereum", policy: str = "ethereum", **more: Any
) -> None:
    """Opens the example's signer for one chain alone, with a policy of the example's."""
    folder.mkdir(exist_ok=True)
    (folder / "passphrase").write_text("correct horse\n")
    (folder / "passphrase").chmod(0o600)
    write_keystore(folder / "keystore", secrets, b"correct horse", 2**14)
    xpub = more.get("xpub", ACCOUNTS.xpubs("main")["bip44"])
    text = EXAMPLE.read_text(encoding="utf-8").replace('xpub_bip44 = "FILL-IN', f'xpub_bip44 = "{xpub}" # "')
    text = text.replace("sending_accounts = []", more.get("listed", "sending_accounts = []"))
    (folder / "settings.toml").write_text(text)
    settings = load_settings(folder / "settings.toml")
    signer = settings.signer.model_copy(
        update={
            "keystore": folder / "keystore",
            "passphrase_file": folder / "passphrase",
            "log": folder / "log",
            "policy": {chain: settings.signer.policy[policy]},
            "kms": more.get("kms", {}),
        }
    )
    open_service(settings.model_copy(update={"signer": signer}), SystemClock()).close()


def test_the_example_starts_with_the_wallets_keys(tmp_path: Path) -> None:
    started(tmp_path, KeystoreSecrets(mnemonic=MNEMONIC))


@pytest.mark.parametrize(("name", "kind"), [("ethereum", "bitcoin"), ("bitcoin", "ethereum")])
def test_a_policy_of_the_other_kind_is_refused(tmp_path: Path, name: str, kind: str) -> None:
    with pytest.raises(SettingsError) as refused:
        started(tmp_path, KeystoreSecrets(mnemonic=MNEMONIC), name, kind)
    assert refused.value.key == f"signer.policy.{name}"
    assert "another kind of chain" in str(refused.value)


def test_listed_accounts_need_their_keys_in_kms_and_as_many(tmp_path: Path) -> None:
    listed = f'sending_accounts = ["0x{"11" * 20}"]'
    with pytest.raises(SettingsError) as refused:
        started(tmp_path, KeystoreSecrets(mnemonic=MNEMONIC), listed=listed)
    assert refused.value.key == "signer.kms.ethereum"
    kms = Kms(region="eu-central-1", keys=("one", "two"))
    with pytest.raises(SettingsError) as refused:
        started(tmp_path / "more", KeystoreSecrets(mnemonic=MNEMONIC), listed=listed, kms={"ethereum": kms})
    assert refused.value.key == "signer.kms.ethereum.keys"


def test_a_keystore_without_keys_of_this_kind_is_refused(tmp_path: Path) -> None:
    root = KeystoreSecrets(accounts={"ethereum": {"bip84": _xprv()}})
    with pytest.raises(KeystoreError, match="no bip44 account for chain ethereum"):
        started(tmp_path, root)


def _xprv() -> str:
    return str(bip32.HDKey.from_seed(bytes(32)).derive("m/84h/0h/0h").to_base58())


def test_a_keystore_of_another_wallet_is_refused(tmp_path: Path) -> None:
    other = ACCOUNTS.xpubs("main")["bip84"]
    with pytest.raises(OperatorError, match=r"chains\.ethereum\.wallet\.xpub_bip44"):
        started(tmp_path, KeystoreSecrets(mnemonic=MNEMONIC), xpub=other)
