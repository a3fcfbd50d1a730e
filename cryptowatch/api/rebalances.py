"""`/v1/wallets` and `/v1/rebalances`: where the house's money is, and how it moves between hot and cold."""

from datetime import datetime
from typing import Annotated, Literal

import asyncpg
import msgspec
from msgspec import Meta

from cryptowatch.api.calls import Amount, Call, NoQuery, Page, PageQuery, Reply, Text, not_found
from cryptowatch.api.paging import page, page_size, uuid_cursor
from cryptowatch.api.problems import Problem, refuse
from cryptowatch.api.transfers import read_amount
from cryptowatch.chains.plans import ColdFormatName, WrongSignature
from cryptowatch.db.pool import Connection
from cryptowatch.errors import ConcurrentUpdate
from cryptowatch.ids import Kind, show_id
from cryptowatch.money import BaseUnits, format_amount
from cryptowatch.sending.reserve import Halted
from cryptowatch.treasury.bands import Direction, Marks, Movement, marks_of
from cryptowatch.treasury.keeping import KeptAsset
from cryptowatch.treasury.rebalances import (
    RebalanceView,
    State,
    Wanted,
    begin,
    end,
    list_rebalances,
    read_rebalance,
    rebalance_view,
)
from cryptowatch.treasury.refills import ColdDesk, import_signed
from cryptowatch.treasury.wallets import Wallets, read_wallets

RebalancePage = Page[RebalanceView]


class MarksView(msgspec.Struct, frozen=True):
    low: str
    target: str
    high: str


class WalletView(msgspec.Struct, frozen=True):
    """`hot`: in blocks, less what open transactions pay out; `final` is the part that no reorg takes back. `queued`:
    withdrawals without a transaction. `marks` and `state` are null where there is no band, or where a forecast sets it:
    metrics show that one."""

    chain: str
    asset: str
    hot: str
    final: str
    queued: str
    in_transit: str
    cold: str
    marks: MarksView | None
    state: Literal["low", "within", "high"] | None
    open_rebalance: str | None


class NewRebalance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`overflow`: from hot to cold; `refill`: from cold to hot, for which cold must sign."""

    chain: Text
    asset: Text
    direction: Direction
    amount: Amount


class UnsignedView(msgspec.Struct, frozen=True):
    """What the cold wallet is to sign, for `cryptowatch wallet sign-offline` or any other program. `unsigned`: a PSBT
    (BIP174, base64), JSON with a transaction of type 2 (EIP-1559), or JSON with the call that a contract such as a Safe
    is to make; the latter is not handed in, but seen in its block. `address`: whom it pays."""

    id: str
    chain: str
    network: str
    asset: str
    amount: str
    address: str
    format: ColdFormatName
    unsigned: str
    expires_at: datetime


class SignedRefill(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A PSBT with its signatures, or the signed transaction in hex."""

    signed: Annotated[str, Meta(pattern=r"^[0-9A-Za-z+/=]*$", min_length=1, max_length=250_000)]


class RebalancesQuery(PageQuery, frozen=True, forbid_unknown_fields=True, kw_only=True):
    chain: Text | None = None
    state: State | None = None


async def list_wallets(call: Call[NoQuery, None], conn: Connection) -> Reply | Problem:
    found = []
    for chain, rules in call.services.rebalance_rules.items():
        for asset, kept in rules.assets.items():
            wallets = await read_wallets(conn, chain, asset, rules.finality)
            found.append(_wallet(chain, asset, kept, wallets))
    return Reply(found)


def _wallet(chain: str, asset: str, kept: KeptAsset, wallets: Wallets) -> WalletView:
    def text(base_units: int) -> str:
        return format_amount(base_units, kept.decimals)

    known = kept.band is not None and not kept.band.is_forecast
    marks = marks_of(kept.band, kept.decimals) if kept.band is not None and known else None
    return WalletView(
        chain=chain,
        asset=asset,
        hot=text(wallets.hot.confirmed),
        final=text(wallets.hot.final),
        queued=text(wallets.hot.queued),
        in_transit=text(wallets.in_transit),
        cold=text(wallets.cold),
        marks=None if marks is None else MarksView(text(marks.low), text(marks.target), text(marks.high)),
        state=None if marks is None else _state(wallets, marks),
        open_rebalance=(
            None if wallets.open_rebalance is None else show_id(Kind.REBALANCE, wallets.open_rebalance)
        ),
    )


def _state(wallets: Wallets, marks: Marks) -> Literal["low", "within", "high"]:
    if wallets.hot.confirmed - wallets.hot.queued < marks.low:
        return "low"
    return "high" if wallets.hot.spare > marks.high else "within"


async def create_rebalance(call: Call[NoQuery, NewRebalance], conn: Connection) -> Reply | Problem:
    wanted, services = call.body, call.services
    rules = services.rebalance_rules.get(wanted.chain)
    if rules is None:
        raise refuse("unknown_chain", "no such chain")
    if services.settings.chains[wanted.chain].cold is None:
        raise refuse("no_cold_wallet", "the settings name no cold wallet for the chain")
    kept = rules.assets.get(wanted.asset)
    if kept is None:
        raise refuse("unknown_asset", "the chain has no such asset")
    amount = read_amount(wanted.amount, kept.decimals)
    _check(amount, kept, wanted.direction)
    order = Wanted(
        wanted.chain,
        wanted.asset,
        Movement(wanted.direction, amount),
        call.caller.shown_id,
        call.now + rules.expires,
    )
    begun = await begin(conn, order, services.new_id(call.now), kept.decimals, call.now)
    if begun is None:
        return Problem("rebalance_open", "wait for it, or cancel it: GET /v1/wallets names it")
    return Reply(begun)


def _check(amount: BaseUnits, kept: KeptAsset, direction: Direction) -> None:
    """Raises Refused for what could never be made."""
    bounds = kept.overflow
    if amount % bounds.unit:
        raise refuse("amount_too_precise", "the chain counts this asset in larger units")
    if amount < bounds.least:
        raise refuse("amount_below_minimum", f"at least {format_amount(bounds.least, kept.decimals)}")
    if direction is Direction.OVERFLOW and bounds.most is not None and amount > bounds.most:
        most = format_amount(bounds.most, kept.decimals)
        raise refuse("limit_exceeded", f"the signer lets {most} to cold within an hour")


async def list_all_rebalances(call: Call[RebalancesQuery, None], conn: Connection) -> Reply | Problem:
    query, decimals = call.query, call.services.decimals
    limit = page_size(query, call.services.settings.api.page_size_max)
    rows = await list_rebalances(
        conn, chain=query.chain, state=query.state, limit=limit + 1, before=uuid_cursor(query)
    )
    return Reply(
        page(rows, limit, lambda row: row["id"], lambda row: rebalance_view(row, decimals[row["asset"]]))
    )


async def get_rebalance(call: Call[NoQuery, None], conn: Connection) -> Reply | Problem:
    row = await _rebalance(call, conn)
    return Reply(rebalance_view(row, call.services.decimals[row["asset"]]))


async def cancel_rebalance(call: Call[NoQuery, object], conn: Connection) -> Reply | Problem:
    """Only one that has no transaction: what is signed may be in a block at any time."""
    row = await _rebalance(call, conn)
    decimals = call.services.decimals[row["asset"]]
    reason = f"canceled by {call.caller.shown_id}"
    ended = await end(conn, row["id"], "canceled", reason, decimals, call.now)
    if ended is None:
        return Problem("wrong_state", f"it is {row['state']}, and has its transaction")
    return Reply(ended)


async def get_unsigned(call: Call[NoQuery, None], conn: Connection) -> Reply | Problem:
    row = await _rebalance(call, conn)
    if row["artefact"] is None or row["state"] != "proposed":
        return Problem("wrong_state", f"it is {row['state']}, and nothing is to be signed")
    settings, desk = call.services.settings.chains[row["chain"]], _desk(call, row)
    decimals = call.services.decimals[row["asset"]]
    return Reply(
        UnsignedView(
            id=show_id(Kind.REBALANCE, row["id"]),
            chain=row["chain"],
            network=settings.network_name,
            asset=row["asset"],
            amount=format_amount(row["amount"], decimals),
            address=row["address"],
            format="call" if row["plan"] is None else desk.cold.format.name,
            unsigned=row["artefact"],
            expires_at=row["expires_at"],
        )
    )


async def take_signed(call: Call[NoQuery, SignedRefill], conn: Connection) -> Reply | Problem:
    """What is wrong changes nothing: the refill waits for the right one."""
    row, services = await _rebalance(call, conn), call.services
    try:
        taken = await import_signed(
            conn,
            _desk(call, row),
            row["id"],
            call.body.signed,
            services.new_id(call.now),
            services.decimals[row["asset"]],
            call.now,
        )
    except WrongSignature as problem:
        raise refuse("wrong_signature", str(problem)) from problem
    except Halted as problem:
        raise refuse("chain_halted", str(problem)) from problem
    except ConcurrentUpdate as problem:
        raise refuse("wrong_state", f"{problem}: cancel it, and ask for another one") from problem
    if taken is None:
        return Problem("wrong_state", f"it is {row['state']}, and waits for no signature")
    return Reply(taken)


def _desk(call: Call[NoQuery, object], row: asyncpg.Record) -> ColdDesk:
    desk = call.services.cold_desks.get(row["chain"])
    if desk is None:
        raise refuse("no_cold_wallet", "the settings name no cold wallet for the chain any more")
    return desk


async def _rebalance(call: Call[NoQuery, object], conn: Connection) -> asyncpg.Record:
    row = await read_rebalance(conn, call.path_id(Kind.REBALANCE))
    if row is None:
        raise not_found()
    return row
