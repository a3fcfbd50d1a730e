"""All commands of `cryptowatch`: a module a theme, loaded when one of its commands is asked for.

Loading everything takes a second, and most commands need a part of it: a person waits for it, and so does whoever
restarts the daemon.
"""

from importlib import import_module
from importlib.util import find_spec

import typer

from cryptowatch import __version__

#: Command -> where its function is, or the commands below it: `module:name`, in the order of `--help`.
_PLACES = {
    "run": "daemon:run",
    "migrate": "daemon:migrate",
    "status": "chains:status",
    "rescan": "chains:rescan",
    "resume": "chains:resume",
    "contracts": "contracts:contracts",
    "reconcile": "reconcile:reconcile",
    "verify-ledger": "ledger:verify_ledger",
    "signer": "signer:run_signer",
    "wallet": "offline:wallet",
    "liabilities": "liabilities:app",
    "keys": "keys:app",
    "events": "events:app",
    "audit": "audit:app",
}
# What needs the extra `devnet` is there when it is installed: production is not asked for it.
if find_spec("bitcoinrpc") is not None:
    _PLACES |= {"demo": "demo:demo", "devnet": "devnet:app"}


def command_line(wanted: str | None = None) -> typer.Typer:
    """With the command that is wanted alone; with all of them where it is none of them, or not said."""
    app = typer.Typer(
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        help="Takes crypto deposits and pays crypto withdrawals for casino platforms.",
    )
    for name in [wanted] if wanted in _PLACES else _PLACES:
        module, attribute = _PLACES[name].split(":")
        found = getattr(import_module(f"cryptowatch.cli.{module}"), attribute)
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=name)
        else:
            app.command(name)(found)
    app.command("version")(_version)
    return app


def _version() -> None:
    """The program's version."""
    print(__version__)
