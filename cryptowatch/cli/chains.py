"""`cryptowatch status`, `rescan` and `resume`: what operators ask of, and tell, the chains."""

import asyncio
import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from cryptowatch.chains.connect import connect
from cryptowatch.chains.nodes import NodePool
from cryptowatch.cli.exits import exit_codes
from cryptowatch.cli.operators import note_command
from cryptowatch.clock import SystemClock
from cryptowatch.db.pool import connection, transaction
from cryptowatch.deposits import cursor as chain_cursor
from cryptowatch.deposits import rescan as deposit_rescan
from cryptowatch.deposits.rules import chain_rules
from cryptowatch.errors import OperatorError, SettingsError
from cryptowatch.plant import node_pool, open_database
from cryptowatch.sending.halts import resume as resume_chain
from cryptowatch.settings import Settings, load_settings
from cryptowatch.settings.chains import Chain

ConfigOption = Annotated[Path, typer.Option("--config", help="The settings' TOML file.")]
ChainArgument = Annotated[str, typer.Argument(help="The chain's name in the settings.")]
JsonOption = Annotated[bool, typer.Option("--json", help="For programs.")]


def status(config: ConfigOption, as_json: JsonOption = False) -> None:
    """Each chain's height against its nodes, and whether payouts are halted."""
    with exit_codes():
        rows = asyncio.run(_status(load_settings(config)))
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    table = Table("chain", "node", "state", "height", "lag", "problem")
    for row in rows:
        halted = f"HALTED: {row['halted']}" if row["halted"] else "following"
        table.add_row(row["chain"], "(applied)", halted, str(row["height"]), "", row["disagreement"] or "")
        for node in row["nodes"]:
            table.add_row(
                "",
                node["name"],
                node["state"],
                str(node["height"]),
                str(node["lag_blocks"]),
                node["problem"] or "",
            )
    Console().print(table)


async def _status(settings: Settings) -> list[dict[str, Any]]:
    rows = []
    async with open_database(settings) as pool:
        for name, chain in settings.chains.items():
            nodes = _nodes(name, chain)
            try:
                await nodes.agreed_head()
                async with connection(pool) as conn:
                    cursor = await chain_cursor.read_cursor(conn, name)
                rows.append(
                    {
                        "chain": name,
                        "height": cursor.block.height if cursor else None,
                        "halted": cursor.halted if cursor else None,
                        "disagreement": nodes.disagreement,
                        "nodes": [
                            {
                                "name": node.name,
                                "state": node.state,
                                "height": node.height,
                                "lag_blocks": node.lag_blocks,
                                "problem": node.problem,
                            }
                            for node in nodes.statuses()
                        ],
                    }
                )
            finally:
                await nodes.close()
    return rows


def rescan(
    config: ConfigOption,
    chain: ChainArgument,
    first: Annotated[int, typer.Option("--from", min=0, help="The first height.")],
    last: Annotated[
        int | None, typer.Option("--to", min=0, help="The last height; default where the daemon is.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Look at blocks again for deposits that were not watched when they passed; credits nothing twice."""
    with exit_codes():
        found = asyncio.run(_rescan(load_settings(config), chain, first, last, show=not as_json))
        print(
            json.dumps({"deposits_found": found})
            if as_json
            else f"{found} deposits found that were not known"
        )


async def _rescan(settings: Settings, chain: str, first: int, last: int | None, *, show: bool) -> int:
    own = _chain(settings, chain)
    bar = Progress(
        TextColumn("blocks"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not show,
    )
    nodes = _nodes(chain, own)
    with bar:
        task = bar.add_task("blocks", total=None)
        try:
            async with open_database(settings) as pool:
                await nodes.agreed_head()
                async with transaction(pool) as conn:
                    await note_command(conn, "rescan", chain, outcome=f"begun at {first}")
                return await deposit_rescan.rescan(
                    pool,
                    nodes,
                    chain_rules(chain, own),
                    SystemClock(),
                    first,
                    last,
                    lambda done, total: bar.update(task, completed=done, total=total),
                )
        finally:
            await nodes.close()


def resume(
    config: ConfigOption,
    chain: ChainArgument,
    accept_reorg: Annotated[
        bool,
        typer.Option(
            "--accept-reorg", help="Follow the reorg even though it undoes final deposits: they are reversed."
        ),
    ] = False,
) -> None:
    """Let a halted chain's payouts go on. Find out first why it halted: `cryptowatch status`, docs/operations.md."""
    with exit_codes():
        asyncio.run(_resume(load_settings(config), chain, accept_reorg))
        print(f"{chain}: payouts go on")


async def _resume(settings: Settings, chain: str, accept_reorg: bool) -> None:
    _chain(settings, chain)
    async with open_database(settings) as pool, transaction(pool) as conn:
        if not await resume_chain(conn, chain, accept_reorg, SystemClock().now()):
            raise OperatorError(f"{chain} is not halted")
        await note_command(conn, "resume --accept-reorg" if accept_reorg else "resume", chain)


def _chain(settings: Settings, chain: str) -> Chain:
    if chain not in settings.chains:
        raise SettingsError(
            "CHAIN", f"no chain {chain!r} in the settings; there is {', '.join(settings.chains)}"
        )
    return settings.chains[chain]


def _nodes(name: str, settings: Chain) -> NodePool:
    return node_pool(connect(name, settings), SystemClock(), None)
