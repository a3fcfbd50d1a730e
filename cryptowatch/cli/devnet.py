"""`cryptowatch devnet up`: the private network in the foreground. Mounted by `cryptowatch.cli`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cryptowatch.errors import OperatorError

app = typer.Typer(no_args_is_help=True, help="A private network of real nodes: try, test, measure.")


@app.callback()
def devnet() -> None:
    """A group, though it has one command yet."""


@app.command()
def up(
    folder: Annotated[Path, typer.Option("--dir", help="Where everything lives; made when missing.")],
    daemon: Annotated[bool, typer.Option("--daemon", help="Run signer and daemon too.")] = False,
    block_time_s: Annotated[
        float, typer.Option("--block-time", min=0, help="Mine every so many seconds; 0: only when told.")
    ] = 0,
    nodes: Annotated[int, typer.Option("--nodes", min=1, max=8, help="How many bitcoind nodes.")] = 3,
    evm_nodes: Annotated[
        int, typer.Option("--ethereum-nodes", min=0, max=8, help="How many anvil nodes; 0: no Ethereum.")
    ] = 3,
    stream: Annotated[bool, typer.Option("--stream", help="Run a NATS server for the event stream.")] = False,
    seed: Annotated[int | None, typer.Option("--seed", help="Makes the faults' chances repeatable.")] = None,
) -> None:
    """Start the network in the foreground; Ctrl-C stops all it started."""
    # Only here: see `cli.demo`.
    from cryptowatch.devnet import foreground

    try:
        foreground.run(
            folder,
            daemon=daemon,
            block_time_s=block_time_s,
            bitcoin_nodes=nodes,
            ethereum={"ethereum": evm_nodes} if evm_nodes else {},
            stream=stream,
            seed=seed,
        )
    except OperatorError as problem:
        Console(stderr=True).print(f"error: {problem}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from problem
