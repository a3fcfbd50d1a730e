"""The settings of the signer, and what it allows by itself, whatever the daemon asks."""

import os
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated

from pydantic import Discriminator, Field, Tag, field_validator

from cryptowatch.settings.chains import TAG_SIGN, Gwei
from cryptowatch.settings.cold import ColdAccountsPolicy, ColdCoinsPolicy
from cryptowatch.settings.sections import Count, EthereumAddress, Seconds, Section


class CoinPolicy(Section):
    """On a chain of coins. Amounts in whole units of the chain's coin."""

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
    cold: ColdCoinsPolicy | None = None

    @property
    def payments_max(self) -> int:
        """Of one transaction: one output is the change."""
        return max(1, self.outputs_max - 1)

    def amounts_max(self, asset: str) -> Mapping[str, str]:
        """asset -> what one transaction may pay to others; `asset` is the chain's own coin."""
        return {asset: self.transaction_amount_max}

    def cold_amounts_max(self, asset: str) -> Mapping[str, str]:
        """asset -> what may go to the cold wallet within an hour."""
        return {} if self.cold is None else {asset: self.cold.hourly_amount_max}


class AssetLimits(Section):
    """Of one asset, in its whole units."""

    #: To others, per transaction.
    transaction_amount_max: str
    #: What leaves the wallet within any hour.
    hourly_amount_max: str


class AccountPolicy(Section):
    """On a chain of accounts. Sweeps and refills stay within the wallet: only their fees count."""

    #: By asset; one that is missing is never paid out.
    assets: Mapping[str, AssetLimits]
    #: The most that one transaction may pay the network, in the chain's own coin: at least what the largest one costs
    #: at the chain's `cap_gwei`, with all the gas that it may take.
    fee_max: str = "4"
    #: The most that all transactions within any hour may pay the network.
    hourly_fee_max: str = "20"
    gas_price_max_gwei: Gwei = Decimal(500)
    hourly_signings_max: Count = 10_000
    #: Payments of one transaction, or accounts swept by it.
    batch_max: Annotated[int, Field(ge=1, le=200)] = 200
    #: When not empty, payments go to these addresses only.
    allow_list: tuple[EthereumAddress, ...] = ()
    cold: ColdAccountsPolicy | None = None

    @property
    def payments_max(self) -> int:
        """Of one transaction."""
        return self.batch_max

    def amounts_max(self, _asset: str) -> Mapping[str, str]:
        """asset -> what one transaction may pay to others."""
        return {asset: limits.transaction_amount_max for asset, limits in self.assets.items()}

    def cold_amounts_max(self, _asset: str) -> Mapping[str, str]:
        """asset -> what may go to cold accounts within an hour."""
        return {} if self.cold is None else self.cold.hourly_amounts_max


COINS, ACCOUNTS = f"{TAG_SIGN}coins", f"{TAG_SIGN}accounts"


def _kind(policy: object) -> str:
    by_asset = "assets" in policy if isinstance(policy, Mapping) else isinstance(policy, AccountPolicy)
    return ACCOUNTS if by_asset else COINS


SignerPolicy = Annotated[
    Annotated[CoinPolicy, Tag(COINS)] | Annotated[AccountPolicy, Tag(ACCOUNTS)], Discriminator(_kind)
]


class Kms(Section):
    """Keys in AWS KMS (ECC_SECG_P256K1, for signing) for one chain's accounts that send. Credentials are found as AWS's
    own tools find them: an instance's role, a profile, the environment."""

    region: Annotated[str, Field(pattern=r"^[a-z]{2}(-[a-z]+)+-[0-9]+$")]
    #: Key ids, ARNs or aliases, in the order of the chain's `wallet.sending_accounts`.
    keys: Annotated[tuple[str, ...], Field(min_length=1, max_length=16)]
    #: Of a private endpoint; AWS's own where none is given.
    endpoint_url: str | None = None
    timeout_s: Seconds = 4


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
    #: By chain.
    kms: Mapping[str, Kms] = {}

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
