"""Sets the stage, plays, and closes the books: what `cryptowatch demo` runs.

The last chapter compares three things to the satoshi: what the ledger says, what the chain holds on the wallet's
keys, and what the webhooks told.
"""

import asyncio
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from cryptowatch import devnet
from cryptowatch.client import ApiProblem, OutcomeUnknown, connect
from cryptowatch.db.pool import connection, open_pool
from cryptowatch.demo import ethereum, platform
from cryptowatch.demo.casino import Casino, until
from cryptowatch.demo.story import CHAPTERS, Story
from cryptowatch.demo.timeline import CheckFailed, Timeline
from cryptowatch.demo.witness import Witness
from cryptowatch.devnet import Net
from cryptowatch.errors import OperatorError
from cryptowatch.ledger.balances import house_balances
from cryptowatch.settings import load_settings
from cryptowatch.settings.chains import CoinWallet


async def perform(keep: bool, console: Console) -> None:
    """The whole demo. Raises OperatorError when something does not hold, with the folder of its logs."""
    line = Timeline(console)
    line.chapter("Setting up: Postgres, three bitcoind and three anvil nodes, the signer, the daemon")
    with _folder(keep) as folder:
        try:
            async with devnet.up(
                folder, daemon=True, ethereum={ethereum.CHAIN: 3}, progress=line.tell
            ) as net:
                await _play(net, line)
                if keep:
                    await _keep(net, console)
        except (CheckFailed, OperatorError, ApiProblem, OutcomeUnknown) as problem:
            raise OperatorError(f"the demo failed: {problem}\n{_log_tail(folder)}") from problem


@contextmanager
def _folder(keep: bool) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="cryptowatch-demo-", ignore_cleanup_errors=True) as folder:
        # Postgres' own user must be able to pass.
        Path(folder).chmod(0o711)
        yield Path(folder)


async def _play(net: Net, line: Timeline) -> None:
    async with AsyncExitStack() as stack:
        casino = Casino(await stack.enter_async_context(connect(net.api_url, net.api_key)))
        await stack.enter_async_context(casino.receiving())
        heights = [await node.rpc("getblockcount") for node in net.bitcoin]
        line.check(
            len(set(heights)) == 1, f"three nodes agree at height {heights[0]}, and the daemon answers"
        )
        story = Story(net, casino, line, Witness(net))
        await story.play([*CHAPTERS, *platform.CHAPTERS, *ethereum.CHAPTERS])
        facts = await _close_the_books(story)
    line.summary(facts)


async def _close_the_books(s: Story) -> dict[str, str]:
    s.line.chapter("The books, the chain and the webhooks agree to the satoshi")
    await until(lambda: _all_told(s), "every event at the webhook")
    events = await s.casino.events()
    s.line.check(
        {event["id"] for event in s.casino.received} == {event["id"] for event in events},
        f"the webhook's receiver heard of all {len(events)} events, signatures checked",
    )
    owed = sum([(await s.casino.balance(account))["total"] for account in s.accounts.values()], Decimal())
    await until(lambda: _balanced(s), "a comparison of chain and ledger without a difference")
    s.line.check(
        (await _house(s.net, "ETH", 18))["house_funds:ethereum"] == ethereum.GAS_ETH,
        "reconcile: chain and ledger agree to the last wei; the ETH for gas is booked as the house's",
    )
    report = await _command(s.net, "verify-ledger")
    s.line.check(
        bool(report["sound"]), f"verify-ledger: {report['postings']} postings replayed, every balance agrees"
    )
    wallet = load_settings(s.net.settings_file).chains["bitcoin"].wallet
    assert isinstance(wallet, CoinWallet)
    branches = [f"wpkh({wallet.xpub_bip84}/{branch}/*)" for branch in (0, 1)]
    held = await s.witness.unspent(branches)
    house = await _house(s.net, "BTC", 8)
    s.line.check(
        held == -house["custody:bitcoin"],
        f"the nodes see {held} BTC on the wallet's keys: the custody account",
    )
    rest = sum(balance for role, balance in house.items() if role != "custody:bitcoin")
    s.line.check(
        held == owed + rest, f"they are what players own ({owed}) and what the house won and paid ({rest})"
    )
    return {
        "events told": str(len(events)),
        "players' money": f"{owed} BTC",
        "on the wallet's keys": f"{held} BTC",
        "network fees paid": f"{-house.get('network_fees:bitcoin', Decimal())} BTC",
    }


async def _all_told(s: Story) -> bool:
    return len({event["id"] for event in s.casino.received}) >= len(await s.casino.events())


async def _command(net: Net, name: str) -> Any:
    """What one of cryptowatch's commands says with --json."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "cryptowatch",
        name,
        "--config",
        str(net.settings_file),
        "--json",
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    return msgspec.json.decode(output)


async def _balanced(s: Story) -> bool:
    """What the house brings is booked as its own once it is final; then nothing differs."""
    rows = await _command(s.net, "reconcile")
    return len(rows) == 4 and all(int(row["difference"]) == 0 for row in rows)


async def _house(net: Net, asset: str, decimals: int) -> dict[str, Decimal]:
    """role -> balance of the house's accounts, in whole units of the asset."""
    async with (
        open_pool(net.postgres_dsn, application_name="demo", size_max=1) as pool,
        connection(pool) as conn,
    ):
        return {
            row.role: Decimal(row.base_units).scaleb(-decimals)
            for row in await house_balances(conn)
            if row.asset == asset
        }


async def _keep(net: Net, console: Console) -> None:
    console.print(
        f"\nAll of it goes on until Ctrl-C: API {net.api_url} (docs at /docs), settings {net.settings_file},\n"
        f"devnet.json beside them has the keys; lever: {net.control_url}"
    )
    await asyncio.Event().wait()


def _log_tail(folder: Path) -> str:
    tails = []
    for name in ("daemon.log", "signer.log"):
        path = folder / name
        if path.exists():
            tails.append(f"--- {name}\n" + "\n".join(path.read_text().splitlines()[-15:]))
    return "\n".join(tails)
