"""`cryptowatch signer` and `cryptowatch wallet`: exit codes, what they print and what they never do (P9)."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from cryptowatch.cli import signer as commands
from cryptowatch.clock import SystemClock
from cryptowatch.errors import OperatorError, SettingsError
from cryptowatch.settings import Settings, load_settings
from cryptowatch.settings.chains import BitcoinSettings
from cryptowatch.settings.signer import CoinPolicy
from cryptowatch.signing.client import SignerClient
from cryptowatch.signing.configure import open_service, read_limits
from cryptowatch.signing.keys import accounts_from_mnemonic
from cryptowatch.signing.keystore import KeystoreSecrets, read_keystore, write_keystore
from cryptowatch.signing.log import SigningLog
from cryptowatch.signing.policy import Signing
from tests.support.wallet import MNEMONIC

app = typer.Typer()
app.command("signer")(commands.run_signer)
app.add_typer(commands.wallet, name="wallet")

XPUBS = accounts_from_mnemonic(MNEMONIC, "regtest").xpubs("regtest")
CONFIG = """
[database]
dsn = "unused"
[signer]
socket = "{folder}/s"
keystore = "{folder}/keystore"
passphrase_file = "{folder}/passphrase"
log = "{folder}/log"
[signer.policy.btc]
transaction_amount_max = "1"
hourly_amount_max = "2"
{policy}
[chains.btc]
network = "regtest"
quorum = 1
nodes = [{{name = "a", url = "http://127.0.0.1:1"}}]
[chains.btc.wallet]
xpub_bip84 = "{xpub}"
[chains.btc.assets.BTC]
withdrawal_min = "0.001"
withdrawal_max = "1"
tiers = [{{credit_confirmations = 1, finalize_confirmations = 6}}]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A keystore with its passphrase and a config."""
    (tmp_path / "passphrase").write_text("correct horse\n")
    (tmp_path / "passphrase").chmod(0o600)
    write_keystore(tmp_path / "keystore", KeystoreSecrets(mnemonic=MNEMONIC), b"correct horse", 2**14)
    write_config(tmp_path)
    return tmp_path


def write_config(folder: Path, xpub: str = XPUBS["bip84"], policy: str = "") -> Settings:
    (folder / "config.toml").write_text(CONFIG.format(folder=folder, xpub=xpub, policy=policy))
    return load_settings(folder / "config.toml")


@pytest.fixture(autouse=True)
def not_hardened(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runner runs commands in this process, which must stay as it is."""
    monkeypatch.setattr(commands, "harden_process", lambda: ())


def run(*arguments: str | Path, stdin: str = "") -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)


def test_a_new_keystore_holds_a_new_mnemonic_and_prints_only_its_xpubs(folder: Path) -> None:
    created = run(
        "wallet",
        "create-keystore",
        folder / "new",
        "--network",
        "regtest",
        "--passphrase-file",
        folder / "passphrase",
        "--json",
    )
    assert created.exit_code == 0, created.output
    mnemonic = read_keystore(folder / "new", b"correct horse").mnemonic
    assert mnemonic is not None and len(mnemonic.split()) == 24
    expected = accounts_from_mnemonic(mnemonic, "regtest").xpubs("regtest")
    assert json.loads(created.stdout) == {"regtest": expected}
    assert mnemonic not in created.output


def test_a_mnemonic_from_stdin_is_kept_and_not_printed(folder: Path) -> None:
    created = run(
        "wallet",
        "create-keystore",
        folder / "new",
        "--network",
        "regtest",
        "--source",
        "mnemonic",
        "--passphrase-file",
        folder / "passphrase",
        stdin=MNEMONIC + "\n",
    )
    assert created.exit_code == 0, created.output
    assert XPUBS["bip84"] in created.stdout and XPUBS["bip86"] in created.stdout
    assert "abandon" not in created.output


def test_wrong_key_material_leaves_no_file_and_is_not_quoted(folder: Path) -> None:
    for source, given in (
        ("mnemonic", "abandon " * 12),
        ("xprvs", '{"btc": {"bip84": "xprvsecret"}}'),
        ("xprvs", '{"btc": "xprvsecret"}'),
        ("xprvs", "xprvsecret"),
    ):
        refused = run(
            "wallet",
            "create-keystore",
            folder / "new",
            "--source",
            source,
            "--passphrase-file",
            folder / "passphrase",
            stdin=given,
        )
        assert refused.exit_code == 1
        assert "abandon" not in refused.output and "xprvsecret" not in refused.output
        assert not (folder / "new").exists()


def test_xpubs_are_printed_for_the_network_asked_for(folder: Path) -> None:
    shown = run(
        "wallet",
        "xpubs",
        folder / "keystore",
        "--network",
        "regtest",
        "--passphrase-file",
        folder / "passphrase",
    )
    assert shown.exit_code == 0 and f'xpub_bip84 = "{XPUBS["bip84"]}"' in shown.stdout


def test_a_wrong_passphrase_fails_with_one_clear_line(folder: Path) -> None:
    (folder / "passphrase").write_text("wrong\n")
    for arguments in (
        ("wallet", "xpubs", folder / "keystore", "--passphrase-file", folder / "passphrase"),
        ("signer", "--config", folder / "config.toml"),
    ):
        failed = run(*arguments)
        assert failed.exit_code == 1
        assert failed.stderr.count("\n") == 1 and "passphrase is wrong" in failed.stderr


def test_without_a_terminal_or_file_there_is_no_passphrase(folder: Path) -> None:
    failed = run("wallet", "xpubs", folder / "keystore")
    assert failed.exit_code == 1 and "--passphrase-file" in failed.stderr


def test_wrong_settings_exit_with_2_and_name_the_key(folder: Path) -> None:
    write_config(folder, policy='fee_max = "0,1"')
    failed = run("signer", "--config", folder / "config.toml")
    assert failed.exit_code == 2 and "signer.policy.btc.fee_max" in failed.stderr
    assert run("signer").exit_code == 2


def test_a_sound_log_is_reported_and_a_changed_one_fails(folder: Path) -> None:
    with SigningLog(folder / "log", lambda _: None) as log:
        log.append(Signing("btc", 1, "L", "00", {"00:0": 1}, 1, 1))
        head = log.head
    shown = run("wallet", "verify-log", folder / "log", "--json")
    assert json.loads(shown.stdout) == {"entries": 1, "head": head}
    content = (folder / "log").read_text()
    (folder / "log").write_text(content.replace('"charged":1', '"charged":0'))
    failed = run("wallet", "verify-log", folder / "log")
    assert failed.exit_code == 1 and "line 1" in failed.stderr
    missing = run("wallet", "verify-log", folder / "none")
    assert missing.exit_code == 1 and "No such file" in missing.stderr


@pytest.mark.parametrize(
    ("policy", "key"),
    [
        ('fee_max = "-1"', "fee_max"),
        ('fee_max = "0.000000001"', "fee_max"),
        ('allow_list = ["not an address"]', "allow_list"),
    ],
)
def test_a_wrong_policy_is_named(folder: Path, policy: str, key: str) -> None:
    settings = write_config(folder, policy=policy)
    with pytest.raises(SettingsError, match=rf"signer\.policy\.btc\.{key}"):
        open_service(settings, SystemClock())


def test_an_allow_list_of_addresses_becomes_their_scripts(folder: Path) -> None:
    # BIP173's P2WPKH example for a test network, in its regtest form.
    address = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
    settings = write_config(folder, policy=f'allow_list = ["{address}"]')
    own, chain = settings.signer.policy["btc"], settings.chains["btc"]
    assert isinstance(own, CoinPolicy)
    assert isinstance(chain, BitcoinSettings)
    limits = read_limits("p", own, chain)
    script = bytes.fromhex("0014751e76e8199196d454941c45d1b3a323f1433bd6")
    assert limits.allowed_scripts == frozenset({script})


def test_a_policy_for_an_unknown_chain_or_for_none_is_refused(folder: Path) -> None:
    settings = write_config(folder)
    for policy in ({}, {"other": settings.signer.policy["btc"]}):
        signer = settings.signer.model_copy(update={"policy": policy})
        changed = settings.model_copy(update={"signer": signer})
        with pytest.raises(SettingsError, match=r"signer\.policy"):
            open_service(changed, SystemClock())


def test_a_keystore_of_another_wallet_is_refused_at_the_start(folder: Path) -> None:
    with pytest.raises(OperatorError, match=r"chains\.btc\.wallet\.xpub_bip84"):
        open_service(write_config(folder, xpub=XPUBS["bip86"]), SystemClock())
    with pytest.raises(SettingsError, match="not an extended public key"):
        open_service(write_config(folder, xpub="nonsense"), SystemClock())


def test_a_systemd_credential_is_found_by_its_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (folder / "config.toml").read_text()
    (folder / "config.toml").write_text(text.replace(f"{folder}/passphrase", "credential:passphrase"))
    with pytest.raises(SettingsError, match="CREDENTIALS_DIRECTORY"):
        load_settings(folder / "config.toml")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    assert load_settings(folder / "config.toml").signer.passphrase_file == folder / "passphrase"


def test_a_hardened_process_is_not_dumpable() -> None:
    program = (
        "import ctypes; from cryptowatch.signing.hardening import harden_process; "
        "print('not_dumpable' in harden_process(), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["True", "0"]


def test_the_real_process_serves_leaves_no_core_and_ends_cleanly_when_told(folder: Path) -> None:
    program = "import typer, pathlib; from cryptowatch.cli.signer import run_signer; typer.run(run_signer)"
    process = subprocess.Popen(
        [sys.executable, "-c", program, "--config", str(folder / "config.toml")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=Path.cwd(),
    )
    try:
        deadline_s = time.monotonic() + 20
        while not (folder / "s").exists() and process.poll() is None and time.monotonic() < deadline_s:
            time.sleep(0.02)
        status = asyncio.run(SignerClient(folder / "s", 5).status())
        assert status.requests == 0
        limits = Path(f"/proc/{process.pid}/limits").read_text().splitlines()
        assert [line.split()[4:6] for line in limits if line.startswith("Max core")] == [["0", "0"]]
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=10)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, output
    assert not (folder / "s").exists()
    assert "abandon" not in output and "correct horse" not in output
