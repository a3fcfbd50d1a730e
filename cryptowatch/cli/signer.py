"""`cryptowatch signer` and `cryptowatch wallet …`: the commands that handle keys; mounted by `cli/__init__`.

Keep P9: they talk to no database and no node. Exit codes: 0 done, 1 failed, 2 wrong usage or settings.
"""

import asyncio
import getpass
import json
import os
import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from cryptowatch.chains.ethereum.address import address_of
from cryptowatch.cli.exits import exit_codes
from cryptowatch.clock import SystemClock
from cryptowatch.errors import SettingsError
from cryptowatch.settings import Settings, load_settings
from cryptowatch.signing.configure import open_accounts, open_service
from cryptowatch.signing.hardening import harden_process
from cryptowatch.signing.keys import accounts_from_mnemonic, accounts_from_xprvs, new_mnemonic
from cryptowatch.signing.keystore import (
    KeystoreError,
    KeystoreSecrets,
    read_keystore,
    read_passphrase,
    write_keystore,
)
from cryptowatch.signing.kms import KmsClient, open_keys
from cryptowatch.signing.log import read_log
from cryptowatch.signing.server import SignerServer
from cryptowatch.telemetry.logs import configure_logs

wallet = typer.Typer(no_args_is_help=True, help="Keystores, their public keys, and the signer's log.")


class Network(StrEnum):
    MAIN = "main"
    TESTNET = "testnet"
    SIGNET = "signet"
    REGTEST = "regtest"


class Source(StrEnum):
    GENERATE = "generate"
    MNEMONIC = "mnemonic"
    XPRVS = "xprvs"


NetworkOption = Annotated[Network, typer.Option("--network", help="Whose accounts (BIP84 and BIP86).")]
SourceOption = Annotated[
    Source,
    typer.Option(
        "--source", help="New keys; or from stdin a mnemonic, or JSON {chain: {bip84: xprv, bip86: xprv}}."
    ),
]
PassphraseOption = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file", help="A private file, or /dev/fd/N. Asked for on the terminal when left out."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="For programs.")]


app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def _signer() -> None:
    """The signer's own command line."""


@app.command("signer")
def run_signer(config: Annotated[Path, typer.Option("--config", help="The settings' TOML file.")]) -> None:
    """Hold the keys and sign what the policy allows, over a unix socket, until told to stop."""
    with exit_codes():
        harden_process()
        settings = load_settings(config)
        configure_logs(settings.telemetry)
        asyncio.run(_serve(settings))


@wallet.command("create-keystore")
def create_keystore(
    keystore: Annotated[Path, typer.Argument(help="The file to create; never overwritten.")],
    network: NetworkOption = Network.MAIN,
    source: SourceOption = Source.GENERATE,
    passphrase_file: PassphraseOption = None,
    show_mnemonic: Annotated[bool, typer.Option(help="Print the new mnemonic once, for paper.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make an encrypted keystore and print its account xpubs, which the settings need."""
    with exit_codes():
        harden_process()
        secrets = _read_secrets(source, network)
        write_keystore(keystore, secrets, ask_passphrase(passphrase_file, confirm=True))
        if show_mnemonic and source is Source.GENERATE:
            typer.echo(secrets.mnemonic, err=as_json)
        _print_xpubs(secrets, network, as_json)


@wallet.command("xpubs")
def print_xpubs(
    keystore: Annotated[Path, typer.Argument(help="A keystore file.")],
    network: NetworkOption = Network.MAIN,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print a keystore's account xpubs."""
    with exit_codes():
        harden_process()
        _print_xpubs(read_keystore(keystore, ask_passphrase(passphrase_file)), network, as_json)


@wallet.command("kms-accounts")
def print_kms_accounts(
    chain: Annotated[str, typer.Argument(help="A chain with `signer.kms.CHAIN` in the settings.")],
    config: Annotated[Path, typer.Option("--config", help="The settings' TOML file.")],
    as_json: JsonOption = False,
) -> None:
    """Print the accounts of a chain's keys in KMS, which `wallet.sending_accounts` must list."""
    with exit_codes():
        kms = load_settings(config).signer.kms.get(chain)
        if kms is None:
            raise SettingsError(f"signer.kms.{chain}", "is not there")
        client = KmsClient(kms)
        try:
            keys = open_keys(client, f"signer.kms.{chain}", kms)
        finally:
            client.close()
        accounts = [address_of(key.script) for key in keys]
        typer.echo(json.dumps(accounts) if as_json else "\n".join(accounts))


@wallet.command("verify-log")
def verify_log(
    log: Annotated[Path, typer.Argument(help="The signer's log; it may be in use.")],
    as_json: JsonOption = False,
) -> None:
    """Check the log's chain from its first line; print its length and its head."""
    with exit_codes():
        head, entries, _ = read_log(log, lambda _: None)
        if as_json:
            typer.echo(json.dumps({"entries": entries, "head": head.hex()}))
        else:
            typer.echo(f"{entries} entries, unbroken; head {head.hex()}")


async def _serve(settings: Settings) -> None:
    service = open_service(settings, SystemClock())
    try:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await SignerServer(service, settings.signer).run(stop)
    finally:
        service.close()


def _read_secrets(source: Source, network: Network) -> KeystoreSecrets:
    """New or given keys, proven usable. Raises KeyMaterialError or KeystoreError."""
    if source is Source.GENERATE:
        return KeystoreSecrets(mnemonic=new_mnemonic(os.urandom(32)))
    text = getpass.getpass(f"{source.value}: ") if sys.stdin.isatty() else sys.stdin.read()
    if source is Source.MNEMONIC:
        secrets = KeystoreSecrets(mnemonic=" ".join(text.split()))
        accounts_from_mnemonic(secrets.mnemonic or "", network.value)
        return secrets
    try:
        secrets = msgspec.convert({"accounts": msgspec.json.decode(text)}, KeystoreSecrets)
    except msgspec.DecodeError:
        raise KeystoreError('stdin is not JSON like {"btc-main": {"bip84": "xprv…"}}') from None
    for xprvs in secrets.accounts.values():
        accounts_from_xprvs(xprvs)
    return secrets


def ask_passphrase(file: Path | None, confirm: bool = False) -> bytes:
    """From the file, else from the terminal without echo. Raises KeystoreError."""
    if file is not None:
        return read_passphrase(file)
    if not sys.stdin.isatty():
        raise KeystoreError("no terminal to ask for the passphrase: give --passphrase-file")
    passphrase = getpass.getpass("passphrase: ")
    if confirm and getpass.getpass("again: ") != passphrase:
        raise KeystoreError("the two passphrases differ")
    return passphrase.encode()


def _print_xpubs(secrets: KeystoreSecrets, network: Network, as_json: bool) -> None:
    """By chain for given xprvs; under the network's name for a mnemonic, which serves every chain."""
    names = list(secrets.accounts) or [network.value]
    xpubs = {name: open_accounts(secrets, name, network.value).xpubs(network.value) for name in names}
    if as_json:
        typer.echo(json.dumps(xpubs))
        return
    for name, schemes in xpubs.items():
        for scheme, xpub in schemes.items():
            typer.echo(f'{name}  xpub_{scheme} = "{xpub}"')
