"""Settings: one TOML file plus environment, frozen, typed; the only reader of the environment.

Any key can be overridden by an environment variable `CRYPTOWATCH_` + its path joined by `__`, such as
`CRYPTOWATCH_DATABASE__DSN`. A wrong key or value raises SettingsError with the key's full name.
Secrets never stand in the file: they are named by files (`auth_file`, `passphrase_file`).
Every key, its unit and default, is shown in config/cryptowatch.example.toml (a test keeps the two equal).
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from cryptowatch.errors import SettingsError
from cryptowatch.money import InvalidAmount, parse_amount

Seconds = Annotated[float, Field(gt=0, le=86_400)]
Count = Annotated[int, Field(gt=0)]


#: The largest of the dust limits of Bitcoin's output types (policy/policy.cpp, GetDustThreshold: P2PKH).
_DUST_MAX_SAT = 546


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Database(Section):
    """The one Postgres. `embedded:DIR` makes the daemon start and stop its own in DIR."""

    dsn: str
    migrate: bool = True
    pool_size: Count = 10
    statement_timeout_s: Seconds = 30
    lock_timeout_s: Seconds = 10


class Api(Section):
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    body_bytes_max: Count = 262_144
    request_timeout_s: Seconds = 30
    concurrent_requests_max: Count = 256
    page_size_max: Annotated[int, Field(gt=0, le=1000)] = 200


class Webhooks(Section):
    allow_private_addresses: bool = False
    timeout_s: Seconds = 15
    concurrency: Count = 16
    #: Wait before each further attempt of a delivery; after the last one it is dead until replayed.
    schedule_s: tuple[float, ...] = (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
    poll_interval_s: Seconds = 0.5
    response_bytes_max: Count = 16_384
    endpoints_max: Count = 50


class Treasury(Section):
    """How often chain and ledger are compared."""

    reconcile_interval_s: Seconds = 10


class SignerPolicy(Section):
    """What the signer allows by itself, whatever the daemon asks. Amounts in whole units of the chain's coin."""

    #: To others, per transaction, without the fee.
    transaction_amount_max: str
    #: What leaves the wallet within any hour, fees included.
    hourly_amount_max: str
    #: Signatures within any hour, repeated ones included: bounds the growth of the log.
    hourly_signings_max: Count = 10_000
    #: Per transaction.
    fee_max: str = "0.05"
    fee_rate_max_sat_vb: Count = 1000
    inputs_max: Count = 500
    outputs_max: Count = 500
    #: When not empty, payments go to these addresses only.
    allow_list: tuple[str, ...] = ()


class Signer(Section):
    socket: Path
    keystore: Path
    #: A file only its user can read; `credential:NAME` is systemd's $CREDENTIALS_DIRECTORY/NAME; /dev/fd/N works.
    passphrase_file: Path
    log: Path
    timeout_s: Seconds = 20
    #: Users, besides the signer's own, whose processes may ask; the socket is then open to its group (mode 0660).
    peer_uids: tuple[Annotated[int, Field(ge=0)], ...] = ()
    connections_max: Count = 16
    message_bytes_max: Count = 1_048_576
    policy: Mapping[str, SignerPolicy] = {}

    @field_validator("passphrase_file", mode="before")
    @classmethod
    def _credential(cls, path: str | Path) -> str | Path:
        name = str(path)
        if not name.startswith("credential:"):
            return path
        directory = os.environ.get("CREDENTIALS_DIRECTORY")
        if directory is None:
            raise ValueError("$CREDENTIALS_DIRECTORY is not set: the unit has no such LoadCredential=")
        return Path(directory, name.removeprefix("credential:"))


class NodeSettings(Section):
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,30}$")]
    url: str
    #: A file that holds `user:password`, such as bitcoind's `.cookie`.
    auth_file: Path | None = None

    @field_validator("url")
    @classmethod
    def _no_credentials(cls, url: str) -> str:
        if not url.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        if "@" in url:
            raise ValueError("credentials belong into auth_file, not into the URL")
        return url.rstrip("/")


class Tier(Section):
    """Depths for deposits up to an amount (whole units; the last tier has none). 1 = in the head block."""

    up_to: str | None = None
    credit_confirmations: Annotated[int, Field(ge=1, le=1000)]
    finalize_confirmations: Annotated[int, Field(ge=1, le=10_000)]

    @model_validator(mode="after")
    def _ordered(self) -> "Tier":
        if self.finalize_confirmations < self.credit_confirmations:
            raise ValueError("finalize_confirmations is below credit_confirmations")
        return self


class AssetSettings(Section):
    decimals: Annotated[int, Field(ge=0, le=36)] = 8
    deposit_min: str = "0"
    withdrawal_min: str
    withdrawal_max: str
    #: What the player pays for a withdrawal on top of its amount; goes to the house.
    withdrawal_fee: str = "0"
    tiers: tuple[Tier, ...]

    @field_validator("tiers")
    @classmethod
    def _ascending(cls, tiers: tuple[Tier, ...]) -> tuple[Tier, ...]:
        if not tiers or tiers[-1].up_to is not None:
            raise ValueError("the last tier must have no up_to, so that it covers every amount")
        if any(tier.up_to is None for tier in tiers[:-1]):
            raise ValueError("only the last tier may go without up_to")
        return tiers

    @model_validator(mode="after")
    def _amounts(self) -> "AssetSettings":
        named = {
            key: getattr(self, key)
            for key in ("deposit_min", "withdrawal_min", "withdrawal_max", "withdrawal_fee")
        }
        named |= {
            f"tiers[{n}].up_to": tier.up_to for n, tier in enumerate(self.tiers) if tier.up_to is not None
        }
        values = {}
        for key, text in named.items():
            try:
                values[key] = parse_amount(text, self.decimals)
            except InvalidAmount as problem:
                raise ValueError(f"{key}: {problem}") from problem
        steps = [values[key] for key in named if key.startswith("tiers")]
        if steps != sorted(set(steps)):
            raise ValueError("tiers: up_to must ascend")
        if not 0 < values["withdrawal_min"] <= values["withdrawal_max"]:
            raise ValueError("withdrawal_min must be above 0 and at most withdrawal_max")
        return self


class Fees(Section):
    """Bounds of every bid, in sat/vB, and the block targets of the three priorities."""

    floor_sat_vb: Count = 1
    cap_sat_vb: Count = 300
    fallback_sat_vb: Count = 5
    #: What spending a coin costs at quiet times: above it coin selection spares inputs, below it tidies up.
    long_term_sat_vb: Count = 10
    target_blocks: Mapping[Literal["economy", "normal", "urgent"], Count] = {
        "economy": 24,
        "normal": 6,
        "urgent": 2,
    }

    @model_validator(mode="after")
    def _ordered(self) -> "Fees":
        if not self.floor_sat_vb <= self.fallback_sat_vb <= self.cap_sat_vb:
            raise ValueError("floor_sat_vb <= fallback_sat_vb <= cap_sat_vb must hold")
        return self


class Batching(Section):
    """When a payout batch leaves: so many withdrawals, or the oldest waited so long (urgent ones do not wait)."""

    count_max: Annotated[int, Field(gt=0, le=500)] = 100
    wait_max_s: Annotated[float, Field(ge=0, le=86_400)] = 30
    in_flight_max: Count = 20


class Wallet(Section):
    """The hot wallet's public side: deposits go to branch 0 of the first xpub, change to its branch 1."""

    xpub_bip84: str
    xpub_bip86: str | None = None
    deposit_scheme: Literal["bip84", "bip86"] = "bip84"
    addresses_ahead: Annotated[int, Field(ge=20, le=1_000_000)] = 1000
    coin_confirmations_min: Count = 1
    #: After so many blocks without a confirmation a payout's fee is raised.
    bump_after_blocks: Count = 3


class ChainSettings(Section):
    family: Literal["bitcoin"] = "bitcoin"
    network: Literal["main", "testnet", "signet", "regtest"]
    asset: str = "BTC"
    quorum: Count
    nodes: tuple[NodeSettings, ...]
    start_height: Annotated[int, Field(ge=0)] | None = None
    poll_interval_s: Seconds = 2
    mempool_interval_s: Seconds = 2
    request_timeout_s: Seconds = 10
    lag_blocks_max: Count = 3
    quarantine_s: Seconds = 60
    #: A reorg deeper than this stops the chain's payouts and pages a person (P6), at least the deepest finality.
    reorg_depth_max: Count = 100
    block_fetch_ahead: Annotated[int, Field(gt=0, le=64)] = 4
    wallet: Wallet
    fees: Fees = Fees()
    batching: Batching = Batching()
    assets: Mapping[str, AssetSettings]

    @model_validator(mode="after")
    def _consistent(self) -> "ChainSettings":
        names = [node.name for node in self.nodes]
        if len(set(names)) != len(names):
            raise ValueError("nodes: names must differ")
        if not len(names) // 2 < self.quorum <= len(names):
            raise ValueError(f"quorum: must be a majority of the {len(names)} nodes")
        if self.asset not in self.assets:
            raise ValueError(f"assets: the chain's own asset {self.asset} is missing")
        own = self.assets[self.asset]
        if parse_amount(own.withdrawal_min, own.decimals) < _DUST_MAX_SAT:
            raise ValueError(
                f"assets.{self.asset}.withdrawal_min: below {_DUST_MAX_SAT} base units nodes do not relay"
            )
        return self


class Telemetry(Section):
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"
    #: Where a process without the role `api` shows its metrics, on the API's host; none when it is not set.
    metrics_port: Annotated[int, Field(gt=0, le=65535)] | None = None


class Settings(BaseSettings):
    """The whole file. Frozen."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix="CRYPTOWATCH_", env_nested_delimiter="__"
    )

    database: Database
    api: Api = Api()
    webhooks: Webhooks = Webhooks()
    treasury: Treasury = Treasury()
    signer: Signer
    telemetry: Telemetry = Telemetry()
    chains: Mapping[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,30}$")], ChainSettings]

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return env_settings, init_settings


def load_settings(path: Path) -> Settings:
    """Read the file and the environment. Raises SettingsError that names the key."""
    try:
        document: dict[str, Any] = tomllib.loads(path.read_text())
    except OSError as problem:
        raise SettingsError("--config", f"cannot read {path}: {problem.strerror}") from problem
    except tomllib.TOMLDecodeError as problem:
        raise SettingsError("--config", f"{path} is not TOML: {problem}") from problem
    try:
        return Settings(**document)
    except ValidationError as problem:
        first = problem.errors(include_url=False, include_input=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "(file)"
        raise SettingsError(key, first["msg"].removeprefix("Value error, ")) from problem
