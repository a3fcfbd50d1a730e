"""`cryptowatch contracts`: what is deployed once for a wallet on a chain of accounts, as transactions for any wallet.

Holds no key and asks no node: whoever deploys does it with a wallet of theirs; the daemon compares what is on the chain
with what it must be before it sends anything.
"""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cryptowatch.chains.ethereum.family import wallet_contracts
from cryptowatch.cli.exits import exit_codes
from cryptowatch.errors import SettingsError
from cryptowatch.settings import load_settings
from cryptowatch.settings.chains import EthereumSettings


def contracts(
    config: Annotated[Path, typer.Option("--config", help="The settings' TOML file.")],
    chain: Annotated[str, typer.Argument(help="The chain's name in the settings.")],
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """The data of the transactions that deploy the wallet's contracts: the delegate comes after the sweeper."""
    with exit_codes():
        found = load_settings(config).chains.get(chain)
        if not isinstance(found, EthereumSettings):
            raise SettingsError("CHAIN", f"{chain!r} is no chain of accounts in the settings")
        data = creation_data(chain, found)
    if as_json:
        print(json.dumps(data, indent=2))
        return
    for name, text in data.items():
        Console().print(f"[bold]{name}[/bold]")
        print(text)


def creation_data(chain: str, settings: EthereumSettings) -> dict[str, str]:
    """Setting -> hex of the deployment. Raises SettingsError for an extended public key that is not one."""
    own = wallet_contracts(chain, settings.wallet)
    data = {"payouts": own.payouts_creation(), "sweeper": own.sweeper_creation()}
    sweeper = settings.contracts.sweeper if settings.contracts else None
    if sweeper is not None and int(sweeper, 16):
        data["sweep_delegate"] = own.delegate_creation(bytes.fromhex(sweeper[2:]))
    return {name: "0x" + creation.hex() for name, creation in data.items()}
