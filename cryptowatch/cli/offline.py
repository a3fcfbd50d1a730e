"""`cryptowatch wallet sign-offline`: signs a refill where the cold keys are, on a machine without any network.

Keeps P9: needs no database, no node and no settings. Says in words what it would sign, and signs nothing but a payment
to the address that the operator names.
"""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from cryptowatch.cli.exits import exit_codes
from cryptowatch.cli.signer import PassphraseOption, ask_passphrase, wallet
from cryptowatch.money import InvalidAmount, parse_amount
from cryptowatch.signing.configure import open_accounts
from cryptowatch.signing.hardening import harden_process
from cryptowatch.signing.keystore import read_keystore
from cryptowatch.signing.offline import NotSigned, Refill, RefillFile, read_file, read_refill

_FILE_BYTES_MAX = 8_388_608
#: By format: decimals of the coin in which the fee is paid.
_DECIMALS = {"psbt": 8, "eip1559": 18, "call": 18}


@wallet.command("sign-offline")
def sign_offline(
    file: Annotated[Path, typer.Argument(help="What GET /v1/rebalances/{id}/unsigned answered.")],
    keystore: Annotated[Path, typer.Option("--keystore", help="The cold keystore.")],
    out: Annotated[Path, typer.Option("--out", help="The file to create: the body for POST …/signed.")],
    pay_to: Annotated[
        str | None,
        typer.Option("--pay-to", help="The address that it must pay. Asked for when left out."),
    ] = None,
    fee_max: Annotated[
        str, typer.Option("--fee-max", help="Whole coins: a transaction that costs more is not signed.")
    ] = "0.01",
    passphrase_file: PassphraseOption = None,
) -> None:
    """Show whom a refill pays and what it costs, and sign it if that is what you expect."""
    with exit_codes():
        harden_process()
        refill_file = read_file(_read(file))
        secrets = read_keystore(keystore, ask_passphrase(passphrase_file))
        network = refill_file.network if refill_file.format == "psbt" else "main"
        refill = read_refill(refill_file, open_accounts(secrets, refill_file.chain, network))
        _show(refill_file, refill)
        _confirm(refill_file, refill, pay_to, fee_max)
        try:
            with out.open("x") as stream:
                json.dump({"signed": refill.sign()}, stream)
        except OSError as problem:
            raise NotSigned(f"cannot write {out}: {problem.strerror}") from problem
        typer.echo(f"signed: {out}")


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            text = stream.read(_FILE_BYTES_MAX + 1)
    except OSError as problem:
        raise NotSigned(f"cannot read {file}: {problem.strerror}") from problem
    if len(text) > _FILE_BYTES_MAX:
        raise NotSigned(f"{file} is larger than {_FILE_BYTES_MAX} bytes")
    return text


def _show(file: RefillFile, refill: Refill) -> None:
    typer.echo(f"refill {file.id} on {file.chain} ({file.network})")
    typer.echo(f"  pays    {refill.amount}")
    typer.echo(f"  to      {refill.pays}")
    typer.echo(f"  change  {refill.change}, back to this keystore")
    typer.echo(f"  fee     {refill.fee_text} at most")
    for detail in refill.details:
        typer.echo(f"          {detail}")


def _confirm(file: RefillFile, refill: Refill, pay_to: str | None, fee_max: str) -> None:
    """Raises NotSigned."""
    try:
        most = parse_amount(fee_max, _DECIMALS[file.format])
    except InvalidAmount as problem:
        raise NotSigned(f"--fee-max: {problem}") from problem
    if not 0 <= refill.fee <= most:
        raise NotSigned(f"the fee is {refill.fee_text}, and --fee-max allows {fee_max}")
    if pay_to is None:
        if not sys.stdin.isatty():
            raise NotSigned("no terminal to ask for the address: give --pay-to")
        pay_to = str(typer.prompt("Type the address of the hot wallet that this must pay"))
    wanted, pays = pay_to.strip(), refill.pays
    if file.format == "eip1559":
        wanted, pays = wanted.lower(), pays.lower()
    if wanted != pays:
        raise NotSigned(f"it pays {refill.pays}, and not {pay_to.strip()}")
