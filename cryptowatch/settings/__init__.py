"""Settings: one TOML file plus environment, frozen, typed; the only reader of the environment.

Any key can be overridden by an environment variable `CRYPTOWATCH_` + its path joined by `__`, such as
`CRYPTOWATCH_DATABASE__DSN`. A wrong key or value raises SettingsError with the key's full name.
Secrets never stand in the file: they are named by files (`auth_file`, `passphrase_file`).
Every key, its unit and default, is shown in config/cryptowatch.example.toml (a test keeps the two equal).
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from cryptowatch.errors import SettingsError
from cryptowatch.settings.chains import TAG_SIGN, Chain
from cryptowatch.settings.compliance import Compliance
from cryptowatch.settings.sections import Count, Seconds, Section
from cryptowatch.settings.signer import Signer
from cryptowatch.settings.stream import Stream
from cryptowatch.settings.withdrawals import Withdrawals

#: In the transaction of transfers, each of which may take `database.statement_timeout_s`; rounded up.
_TRANSFER_STATEMENTS_MAX: Final = 20


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
    body_bytes_max: Count = 1_048_576
    request_timeout_s: Seconds = 30
    concurrent_requests_max: Count = 256
    page_size_max: Annotated[int, Field(gt=0, le=1000)] = 200
    #: Requests of one call that are committed together when many come at once.
    group_max: Annotated[int, Field(gt=0, le=500)] = 64
    #: Lines in one answer of a statement as a file.
    export_lines_max: Annotated[int, Field(gt=0, le=100_000)] = 10_000
    #: Of each key, in each process; a key can have its own.
    rate_per_s: Count = 2000
    rate_burst: Count = 4000
    #: `GET /v1/events/stream`.
    streams_max: Count = 100
    stream_events_kept: Count = 1000
    stream_heartbeat_s: Seconds = 15
    stream_lifetime_s: Seconds = 3600
    stream_poll_interval_s: Seconds = 0.2


class Webhooks(Section):
    allow_private_addresses: bool = False
    timeout_s: Seconds = 15
    concurrency: Count = 16
    #: Wait before each further attempt of a delivery; after the last one it is dead until replayed.
    schedule_s: tuple[float, ...] = (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
    poll_interval_s: Seconds = 0.1
    response_bytes_max: Count = 16_384
    endpoints_max: Count = 50
    #: An endpoint that answered nothing well for so long is disabled.
    disable_after_days: Annotated[float, Field(gt=0, le=365)] = 5
    #: With what the endpoints' secrets are sealed in the database.
    key_file: Path | None = None


class Accounts(Section):
    """What players set themselves, and what several of them share."""

    #: So long a limit on play holds that is to be loosened or removed.
    limit_raise_delay_s: Annotated[float, Field(ge=0, le=2_678_400)] = 86_400
    #: In which limits across assets are told; a name for people.
    reference_currency: Annotated[str, Field(pattern=r"^[A-Z]{3,5}$")] = "USD"
    #: A display rate older than this is not known: what depends on it is refused.
    rate_max_age_s: Seconds = 86_400
    #: Traits of one account that are kept; the oldest are forgotten.
    traits_max: Annotated[int, Field(gt=0, le=10_000)] = 200
    #: What more accounts than this share says nothing of any of them.
    shared_by_max: Annotated[int, Field(gt=0, le=1000)] = 20


class Agents(Section):
    """Periods, and what holds a commission back."""

    period: Literal["day", "week", "month"] = "month"
    #: So long after its end a period is closed.
    close_delay_s: Annotated[float, Field(ge=60, le=86_400)] = 3600
    #: So long after that nothing is paid.
    hold_s: Annotated[float, Field(ge=0, le=31_622_400)] = 604_800
    #: Whether a person pays each statement; else it is paid by itself unless it is flagged.
    approval: bool = True
    depth_max: Annotated[int, Field(ge=1, le=100)] = 32
    #: Turnover above so many times the average of earlier periods is flagged.
    sudden_turnover_times: Annotated[int, Field(ge=1, le=1000)] = 5
    #: From such a share of turnover on, in basis points, play of its own and matched bets are.
    self_play_bp: Annotated[int, Field(ge=0, le=10_000)] = 1
    matched_bets_bp: Annotated[int, Field(ge=0, le=10_000)] = 2000
    interval_s: Seconds = 10


class Treasury(Section):
    """How often chain and ledger are compared, and how the hot wallets are kept in their bands."""

    reconcile_interval_s: Seconds = 10
    #: Between two looks at what accounts hold by the nodes' word.
    audit_interval_s: Seconds = 60
    #: Between two looks at the hot wallets' bands.
    rebalance_interval_s: Seconds = 10
    #: Until the next one is begun by itself after one that came to nothing.
    rebalance_retry_s: Seconds = 3600
    #: How long a refill waits for its signature, and an overflow for coins.
    rebalance_expires_s: Seconds = 86_400


class Referrals(Section):
    """Bounds of the role `referrals`, and the programme under which codes refer when there is no other."""

    poll_interval_s: Seconds = 0.5
    #: Events of the feed, payments or accounts in one transaction.
    batch_max: Annotated[int, Field(gt=0, le=5000)] = 500
    #: Of ancestors that a referral keeps.
    levels_max: Annotated[int, Field(gt=0, le=10)] = 5
    circle_steps_max: Annotated[int, Field(gt=0, le=1000)] = 50
    #: Between two looks at what an account played, where that is the act.
    activity_interval_s: Seconds = 3600
    codes_per_account_max: Count = 20
    reserved_codes: tuple[str, ...] = ("ADMIN", "CASINO", "OFFICIAL", "SUPPORT")
    #: As `POST /v1/referrals/programmes` takes `terms`.
    default_programme: Mapping[str, Any] | None = None
    #: Where several processes' settings give different terms, those of the highest hold.
    default_programme_revision: Annotated[int, Field(ge=0, le=2_147_483_647)] = 0


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
    accounts: Accounts = Accounts()
    agents: Agents = Agents()
    stream: Stream = Stream()
    treasury: Treasury = Treasury()
    referrals: Referrals = Referrals()
    withdrawals: Withdrawals = Withdrawals()
    compliance: Compliance = Compliance()
    signer: Signer
    telemetry: Telemetry = Telemetry()
    chains: Mapping[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,30}$")], Chain]

    @property
    def decimals(self) -> Mapping[str, int]:
        """asset -> decimals; the ledger knows one asset of each name, whatever chains it lives on."""
        return {
            asset: settings.decimals
            for chain in self.chains.values()
            for asset, settings in chain.asset_settings.items()
        }

    @model_validator(mode="after")
    def _one_ledger(self) -> Self:
        """An asset counts in the same units on every chain."""
        decimals: dict[str, int] = {}
        for name, chain in self.chains.items():
            for asset, settings in chain.asset_settings.items():
                if decimals.setdefault(asset, settings.decimals) != settings.decimals:
                    raise ValueError(f"chains.{name}.assets.{asset}.decimals: differs from another chain's")
        self.withdrawals.check(decimals)
        self.compliance.check(decimals)
        return self

    @model_validator(mode="after")
    def _one_watcher(self) -> Self:
        """A deposit is known by its chain's name: one network under two names would credit it twice (P2)."""
        names: dict[tuple[str, str], str] = {}
        for name, chain in self.chains.items():
            first = names.setdefault((chain.family, chain.network_name), name)
            if first != name:
                raise ValueError(f"chains.{name}: is the same network as chains.{first}")
        return self

    @model_validator(mode="after")
    def _no_period_closes_under_a_bet(self) -> Self:
        """A bet of the period's last moment would be in no statement, ever."""
        least = _TRANSFER_STATEMENTS_MAX * self.database.statement_timeout_s
        if self.agents.close_delay_s < least:
            raise ValueError(
                f"agents.close_delay_s: below {least:g}, which a transfer can take by database.statement_timeout_s"
            )
        return self

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
        key = ".".join(part for part in map(str, first["loc"]) if not part.startswith(TAG_SIGN)) or "(file)"
        raise SettingsError(key, first["msg"].removeprefix("Value error, ")) from problem
