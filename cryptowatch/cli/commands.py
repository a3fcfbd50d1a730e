"""All commands of `cryptowatch`, one module a theme."""

from importlib.util import find_spec

import typer

from cryptowatch import __version__
from cryptowatch.cli import (
    audit,
    chains,
    contracts,
    daemon,
    events,
    keys,
    ledger,
    liabilities,
    offline,
    reconcile,
    signer,
)

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Takes crypto deposits and pays crypto withdrawals for casino platforms.",
)
app.command("run")(daemon.run)
app.command("migrate")(daemon.migrate)
app.command("status")(chains.status)
app.command("rescan")(chains.rescan)
app.command("resume")(chains.resume)
app.command("contracts")(contracts.contracts)
app.command("reconcile")(reconcile.reconcile)
app.command("verify-ledger")(ledger.verify_ledger)
app.command("signer")(signer.run_signer)
signer.wallet.command("sign-offline")(offline.sign_offline)
app.add_typer(signer.wallet, name="wallet")
app.add_typer(liabilities.app, name="liabilities")
app.add_typer(keys.app, name="keys")
app.add_typer(events.app, name="events")
app.add_typer(audit.app, name="audit")

# What needs the extra `devnet` is there when it is installed: production is not asked for it.
if find_spec("bitcoinrpc") is not None:
    from cryptowatch.cli import demo, devnet

    app.command("demo")(demo.demo)
    app.add_typer(devnet.app, name="devnet")


@app.command("version")
def version() -> None:
    """The program's version."""
    print(__version__)
