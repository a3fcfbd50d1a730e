"""`cryptowatch keys`: what operators type, and what programs read of it."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cryptowatch.cli.keys import app

SETTINGS = """
[database]
dsn = "{dsn}"
[signer]
socket = "/nowhere"
keystore = "/nowhere"
passphrase_file = "/nowhere"
log = "/nowhere"
[chains.bitcoin]
network = "regtest"
quorum = 1
nodes = [{{ name = "one", url = "http://127.0.0.1:1" }}]
wallet = {{ xpub_bip84 = "xpub" }}
assets.BTC = {{ withdrawal_min = "0.001", withdrawal_max = "1", tiers = [{{ credit_confirmations = 1, \
finalize_confirmations = 1 }}] }}
"""


@pytest.fixture
def config(database: str, tmp_path: Path) -> Path:
    path = tmp_path / "cryptowatch.toml"
    path.write_text(SETTINGS.format(dsn=database))
    return path


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def test_a_key_is_shown_once_listed_without_it_and_revoked(config: Path) -> None:
    base = ("--config", str(config), "--json")
    created = json.loads(
        run("create", "--name", "backend", "--scope", "read", "--scope", "ledger", *base).stdout
    )
    assert created["key"].startswith("cwk_")
    assert created["scopes"] == ["ledger", "read"]
    listed = run("list", *base).stdout
    assert created["key"] not in listed
    [shown] = json.loads(listed)
    assert (shown["name"], shown["hint"], shown["revoked_at"]) == ("backend", created["key"][-4:], None)
    revoked = json.loads(run("revoke", created["id"], *base).stdout)
    assert revoked["revoked_at"] is not None


def test_a_key_that_expires_says_when(config: Path) -> None:
    done = run(
        "create", "--name", "short", "--scope", "read", "--days", "7", "--config", str(config), "--json"
    )
    assert json.loads(done.stdout)["expires_at"] is not None


def test_for_people_it_is_a_sentence_and_a_table(config: Path) -> None:
    assert (
        "never shown again" in run("create", "--name", "x", "--scope", "read", "--config", str(config)).stdout
    )
    assert "scopes" in run("list", "--config", str(config)).stdout


@pytest.mark.parametrize(
    "words",
    [["revoke", "key_" + "0" * 32], ["revoke", "nonsense"], ["create", "--name", "", "--scope", "read"]],
)
def test_what_cannot_be_done_fails_with_one_clear_line(config: Path, words: list[str]) -> None:
    failed = run(*words, "--config", str(config))
    assert failed.exit_code == 1
    assert len(failed.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "words", [["create", "--name", "x", "--scope", "everything"], ["create", "--name", "x"]]
)
def test_wrong_usage_has_its_own_exit_code(config: Path, words: list[str]) -> None:
    assert run(*words, "--config", str(config)).exit_code == 2


def test_a_key_can_have_a_rate_of_its_own(config: Path) -> None:
    base = ("create", "--name", "busy", "--scope", "read", "--config", str(config), "--json")
    made = [
        json.loads(run(*base, *more).stdout)
        for more in ((), ("--rate", "5"), ("--rate", "5", "--burst", "7"))
    ]
    assert [(key["rate_per_s"], key["rate_burst"]) for key in made] == [(None, None), (5, 10), (5, 7)]
    assert run(*base, "--burst", "7").exit_code == 1
    assert run(*base, "--rate", "0").exit_code == 2
