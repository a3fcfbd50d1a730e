"""The example settings: every key, its default and no other; wrong settings end with the key's name."""

import os
import re
import tomllib
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from typer.testing import CliRunner, Result

from cryptowatch.chains.connect import connect
from cryptowatch.cli.commands import command_line
from cryptowatch.errors import SettingsError
from cryptowatch.settings import Settings, load_settings
from cryptowatch.settings.chains import BitcoinSettings, EthereumSettings
from cryptowatch.settings.signer import AccountPolicy, CoinPolicy

EXAMPLE = Path(__file__).parents[2] / "config" / "cryptowatch.example.toml"

#: `[table]`, or `#[table]` for one that is off with all its keys.
TABLE = re.compile(r"#?\[+([\w.-]+)\]+")
#: `key = …`, or `#key = …` for one that is off.
KEY = re.compile(r"#?(\w+) = ")
ENDING = re.compile(r"(?:Default: (?P<default>.+)|Required)\.", re.DOTALL)

#: A setting as the model knows it: names that operators choose (assets) are `*`, chains are called by their family.
Place = tuple[str, str]
FAMILIES: Mapping[type[BaseModel], str] = {
    BitcoinSettings: ".bitcoin",
    CoinPolicy: ".bitcoin",
    EthereumSettings: ".ethereum",
    AccountPolicy: ".ethereum",
}


@dataclass(frozen=True)
class Shown:
    """A key where the example shows it first, with the comment right above it. `value` None: it is off."""

    comment: str
    value: Any


@pytest.fixture(autouse=True)
def no_overrides(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of whoever runs the tests stay out of them."""
    for name in [*os.environ]:
        if name.startswith("CRYPTOWATCH_") or name == "CREDENTIALS_DIRECTORY":
            monkeypatch.delenv(name)


def fields(model: type[BaseModel], table: str = "") -> Iterator[tuple[Place, FieldInfo]]:
    """Every setting of a section and the sections in it."""
    for name, field in model.model_fields.items():
        inner = list(sections_of(field.annotation))
        if not inner:
            yield (table, name), field
        path = f"{table}.{name}".lstrip(".")
        for model_inside, suffix in inner:
            yield from fields(model_inside, path + suffix)


def sections_of(annotation: Any) -> Iterator[tuple[type[BaseModel], str]]:
    """The sections that a field can hold, once, in a list, or under names that the operator chooses."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, ""
        return
    named = typing.get_origin(annotation) is Mapping
    for argument in typing.get_args(annotation):
        for model, suffix in sections_of(argument):
            yield model, (FAMILIES.get(model, ".*") if named else "") + suffix


KNOWN: Mapping[Place, FieldInfo] = dict(fields(Settings))


def shown() -> dict[Place, Shown]:
    """What the example shows, read as its reader does: from the top, comments before keys."""
    text = EXAMPLE.read_text(encoding="utf-8")
    document, found = tomllib.loads(text), dict[Place, Shown]()
    table, is_off, comment = "", False, list[str]()
    for line in text.splitlines():
        if match := TABLE.fullmatch(line):
            table, is_off, comment = match[1], line.startswith("#"), []
        elif match := KEY.match(line):
            key = match[1]
            if is_off:
                value = tomllib.loads(line.removeprefix("#"))[key]
            else:
                value = None if line.startswith("#") else at(document, table)[key]
            found.setdefault((generic(table), key), Shown(" ".join(comment), value))
            comment = []
        elif line.startswith("# ") or line == "#":
            comment.append(line.removeprefix("#").strip())
        else:
            assert not line, f"neither comment, table nor key: {line}"
            comment = []
    return found


def at(document: dict[str, Any], table: str) -> dict[str, Any]:
    for part in table.split("."):
        document = document[part] if isinstance(document[part], dict) else document[part][0]
    return document


def generic(table: str) -> str:
    """`chains.bitcoin.assets.BTC` -> `chains.bitcoin.assets.*`."""
    parts, tables = table.split("."), {place[0] for place in KNOWN}
    for known in sorted(tables):
        wanted = known.split(".")
        if len(wanted) == len(parts) and all(w in ("*", p) for w, p in zip(wanted, parts, strict=True)):
            return known
    raise AssertionError(f"[{table}] is no table of the settings")


def plain(default: Any) -> Any:
    """A model's default as TOML has it."""
    if isinstance(default, tuple):
        return [plain(item) for item in default]
    if isinstance(default, Decimal):
        return str(default)
    return dict(default) if isinstance(default, Mapping) else default


def test_the_example_shows_every_key_and_none_beyond() -> None:
    assert shown().keys() == KNOWN.keys()


def test_the_walk_over_the_model_finds_keys_at_every_depth() -> None:
    assert {
        ("database", "dsn"),
        ("signer.policy.bitcoin", "fee_max"),
        ("signer.policy.ethereum.assets.*", "hourly_amount_max"),
        ("chains.bitcoin.nodes", "auth_file"),
        ("chains.ethereum.assets.*.tiers", "up_to"),
        ("chains.ethereum.fees", "target_blocks"),
    } <= KNOWN.keys()


@pytest.mark.parametrize("place", KNOWN, ids=".".join)
def test_a_comment_ends_with_the_default_or_says_that_the_key_is_required(place: Place) -> None:
    field, comment = KNOWN[place], shown()[place].comment
    ending = ENDING.search(comment)
    assert ending and comment.endswith(ending[0]), f"the comment says neither: {comment!r}"
    if field.is_required():
        assert ending["default"] is None
    elif field.default is None:
        assert ending["default"] == "none"
    else:
        assert tomllib.loads(f"it = {ending['default']}") == {"it": plain(field.default)}


@pytest.mark.parametrize(
    "place", [p for p, field in KNOWN.items() if field.default is not None], ids=".".join
)
def test_a_key_with_a_default_is_shown_with_it(place: Place) -> None:
    if not KNOWN[place].is_required():
        assert shown()[place].value == plain(KNOWN[place].default)


def test_a_required_key_is_never_off() -> None:
    assert [place for place, it in shown().items() if it.value is None and KNOWN[place].is_required()] == []


def test_the_example_loads() -> None:
    settings = load_settings(EXAMPLE)
    assert [tier.finalize_confirmations for tier in settings.chains["bitcoin"].assets["BTC"].tiers] == [3, 6]


def test_the_example_loads_with_every_optional_key_on(tmp_path: Path) -> None:
    config = tmp_path / "all-on.toml"
    config.write_text(
        re.sub(r"^#(\w+ = |\[)", r"\1", EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    )
    assert load_settings(config).chains["bitcoin"].start_height is not None


def test_a_wallet_key_that_was_not_filled_in_is_named_before_any_address_is_given_out() -> None:
    with pytest.raises(SettingsError) as problem:
        connect("bitcoin", load_settings(EXAMPLE).chains["bitcoin"])
    assert problem.value.key == "chains.bitcoin.wallet.xpub_bip84"


def test_a_batch_and_its_change_fit_into_what_the_example_lets_the_signer_sign() -> None:
    settings = load_settings(EXAMPLE)
    chain, policy = settings.chains["bitcoin"], settings.signer.policy["bitcoin"]
    assert chain.batching.count_max <= policy.payments_max
    maximum = chain.asset_settings["BTC"].withdrawal_max
    assert float(maximum) <= float(policy.amounts_max("BTC")["BTC"])


def run_daemon(config: Path) -> Result:
    return CliRunner().invoke(command_line(), ["run", "--config", str(config)])


@pytest.mark.parametrize(
    ("right", "wrong", "key"),
    [
        ("pool_size = 10", "pool_size = 0", "database.pool_size"),
        ("migrate = true", 'migrate = "maybe"', "database.migrate"),
        ("[database]\n", "[databases]\n", "database"),
        ("port = 8080", "port = 70000", "api.port"),
        ("port = 8080", "port = 8080\nprot = 8080", "api.prot"),
        ('log_level = "info"', 'log_level = "loud"', "telemetry.log_level"),
        ("connections_max = 16", "connections_max = -1", "signer.connections_max"),
        ('"/etc/cryptowatch/secrets/passphrase"', '"credential:passphrase"', "signer.passphrase_file"),
        ('transaction_amount_max = "5"\n', "", "signer.policy.bitcoin.transaction_amount_max"),
        ("statement_timeout_s = 30", "statement_timeout_s = 181", "agents.close_delay_s"),
        ("[referrals]\n", "[referrals]\ndefault_programme = { act = 1 }\n", "referrals.default_programme"),
        ("[chains.bitcoin]", "[chains.Bitcoin]", "chains.Bitcoin"),
        ('network = "main"', 'network = "mainnet"', "chains.bitcoin.network"),
        ("quorum = 2", "quorum = 1", "quorum"),
        ("mempool_interval_s = 2", "mempool_interval_s = 0", "chains.bitcoin.mempool_interval_s"),
        ('name = "bitcoin-a"', 'name = "Bitcoin A"', "chains.bitcoin.nodes.0.name"),
        ('name = "bitcoin-b"', 'name = "bitcoin-a"', "nodes"),
        ("http://10.0.0.12", "http://user:word@10.0.0.12", "chains.bitcoin.nodes.1.url"),
        ('xpub_bip84 = "', 'xpub_84 = "', "chains.bitcoin.wallet.xpub_bip84"),
        ('asset = "BTC"', 'asset = "LTC"', "assets"),
        ("target_blocks = { economy", "target_blocks = { cheap", "chains.bitcoin.fees.target_blocks"),
        ("miss_cost_percent = { economy = 100, ", "miss_cost_percent = { ", "fees.miss_cost_percent"),
        ('withdrawal_min = "0.0001"', "withdrawal_min = 0.0001", "chains.bitcoin.assets.BTC.withdrawal_min"),
        ('withdrawal_min = "0.0001"', 'withdrawal_min = "2"', "withdrawal_min"),
        ('withdrawal_min = "0.0001"', 'withdrawal_min = "0.00000545"', "assets.BTC.withdrawal_min"),
        ("cap_sat_vb = 300", "cap_sat_vb = 4", "cap_sat_vb"),
        ('deposit_min = "0"', 'deposit_min = "1e-3"', "deposit_min"),
        ('up_to = "0.1"\n', "", "up_to"),
        ("finalize_confirmations = 6", "finalize_confirmations = 1", "finalize_confirmations"),
    ],
)
def test_a_wrong_setting_is_named_and_ends_the_daemon_with_code_2(
    tmp_path: Path, right: str, wrong: str, key: str
) -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    assert right in text
    config = tmp_path / "wrong.toml"
    config.write_text(text.replace(right, wrong, 1))
    result = run_daemon(config)
    assert result.exit_code == 2
    assert key in result.stderr
    assert result.stderr.startswith("cryptowatch: setting ")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("text", [None, "[database\n"], ids=["missing", "not TOML"])
def test_a_file_that_cannot_be_read_is_told_as_the_option_and_ends_with_code_2(
    tmp_path: Path, text: str | None
) -> None:
    config = tmp_path / "broken.toml"
    if text is not None:
        config.write_text(text)
    result = run_daemon(config)
    assert (result.exit_code, result.stderr.startswith("cryptowatch: setting --config: ")) == (2, True)


def test_a_wrong_environment_variable_is_named_as_the_setting_that_it_overrides(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CRYPTOWATCH_API__PORT", "http")
    result = run_daemon(EXAMPLE)
    assert (result.exit_code, "setting api.port: " in result.stderr) == (2, True)


def test_an_environment_variable_overrides_one_key_and_leaves_its_neighbours(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CRYPTOWATCH_DATABASE__POOL_SIZE", "20")
    monkeypatch.setenv("CRYPTOWATCH_SIGNER__PASSPHRASE_FILE", "credential:passphrase")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    settings = load_settings(EXAMPLE)
    assert (settings.database.pool_size, settings.database.lock_timeout_s) == (20, 10)
    assert settings.signer.passphrase_file == tmp_path / "passphrase"


@pytest.mark.parametrize("roles", ["watch,juggle", "", " , "])
def test_a_role_that_there_is_not_ends_with_code_2_and_the_roles_that_there_are(roles: str) -> None:
    result = CliRunner().invoke(command_line(), ["run", "--config", str(EXAMPLE), "--roles", roles])
    assert (result.exit_code, "--roles" in result.stderr, "watch" in result.stderr) == (2, True, True)
