"""What every family must keep of what `chains.port` and `chains.plans` say in words, on real nodes of each."""

import asyncio
import string
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise

import hypothesis.strategies as st
import pytest
import pytest_asyncio
from hypothesis import given, settings

from cryptowatch.chains.connect import ConnectedChain
from cryptowatch.chains.plans import Insufficient, Plan, Recipient
from cryptowatch.chains.port import (
    BlockContents,
    BroadcastOutcome,
    FeeMarket,
    InvalidAddress,
    Node,
    Spend,
    Transfer,
)
from cryptowatch.chains.watchset import WatchList
from cryptowatch.devnet.client import Net
from cryptowatch.errors import NodeLied, NodeUnavailable
from cryptowatch.money import BaseUnits
from cryptowatch.settings.chains import Priority
from tests.chains.families import FAMILIES, Family, Signed, offline, online

NOTHING: frozenset[bytes] = frozenset()
PRIORITIES: Sequence[Priority] = ("economy", "normal", "urgent")
every_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.chain)
OFFLINE = {family.chain: offline(family) for family in FAMILIES}


@dataclass(frozen=True)
class Live:
    """One family's chain on the devnet, seen through the first node."""

    family: Family
    net: Net
    chain: ConnectedChain

    @property
    def node(self) -> Node:
        return self.chain.nodes[0]

    def units(self, whole: int) -> int:
        return whole * int(10**self.family.decimals)

    async def mine(self, blocks: int = 1) -> None:
        await self.net.mine(blocks, chain=self.family.chain)

    async def reorg(self, depth: int, drop: Sequence[Signed] = (), include: Sequence[Signed] = ()) -> None:
        await self.net.reorg(
            depth,
            [signed.tx_hash.hex() for signed in drop],
            [self.shown(signed) for signed in include],
            chain=self.family.chain,
        )

    def shown(self, signed: Signed) -> str:
        return ("" if self.family.chain == "bitcoin" else "0x") + signed.raw.hex()

    async def head(self, *destinations: bytes, resources: Sequence[bytes] = ()) -> BlockContents:
        height, block_hash = await self.node.head()
        return (await self.node.block(block_hash, height)).contents(WatchList(destinations, resources))

    async def arrives(self, tx_hash: bytes) -> None:
        async with asyncio.timeout(20):
            while tx_hash not in (await self.node.pending(NOTHING, frozenset({tx_hash})))[0]:  # noqa: ASYNC110
                await asyncio.sleep(0.05)


@pytest_asyncio.fixture(params=FAMILIES, ids=lambda family: family.chain)
async def live(request: pytest.FixtureRequest, evm_net: Net) -> AsyncIterator[Live]:
    """Of the devnet that runs both: three anvils, one bitcoind."""
    made = Live(request.param, evm_net, online(request.param, evm_net))
    yield made
    for node in made.chain.nodes:
        await node.close()


# --- heads and blocks ---------------------------------------------------------------------------------------


async def test_the_head_is_the_hash_at_its_height_and_above_it_there_is_none(live: Live) -> None:
    await live.mine()
    height, block_hash = await live.node.head()
    assert await live.node.hash_at(height) == block_hash
    assert await live.node.hash_at(height + 1) is None
    assert await live.node.hash_at(height + 1_000_000) is None


async def test_a_block_by_its_hash_tells_its_place_and_follows_its_parent(live: Live) -> None:
    await live.mine(3)
    height, block_hash = await live.node.head()
    refs = []
    for at in range(height - 3, height + 1):
        known = await live.node.hash_at(at)
        assert known is not None
        refs.append((await live.node.block(known, at)).ref)
    assert [ref.height for ref in refs] == list(range(height - 3, height + 1))
    assert refs[-1].hash == block_hash
    for parent, child in pairwise(refs):
        assert (child.prev_hash, child.time >= parent.time) == (parent.hash, True)
        assert child.time.utcoffset() is not None


async def test_a_hash_that_no_block_has_is_unavailable_and_no_lie(live: Live) -> None:
    with pytest.raises(NodeUnavailable):
        await live.node.block(b"\x07" * 32, 5)


async def forged(live: Live, variant: str) -> tuple[int, bytes, bytes]:
    """(height, hash, destination): the block's node pretends that it pays the destination."""
    address, destination = live.family.new_destination()
    height, _ = await live.node.head()
    await live.mine()
    _, block_hash = await live.node.head()
    said = {"height": height, "address": address, "amount": "5", "variant": variant}
    await live.net.fault(0, "forged_block", chain=live.family.chain, **said)
    return height + 1, block_hash, destination


async def test_contents_that_do_not_fit_the_hash_are_a_lie(live: Live) -> None:
    """P5: what is given under a hash is what the hash commits to."""
    height, block_hash, destination = await forged(live, "body")
    with pytest.raises(NodeLied):
        await live.node.block(block_hash, height)
    await live.net.clear_faults()
    assert (await live.head(destination)).transfers == ()


async def test_a_forged_branch_is_never_given_under_a_true_hash(live: Live) -> None:
    height, block_hash, destination = await forged(live, "chain")
    assert (await live.node.head())[1] != block_hash
    with suppress(NodeLied, NodeUnavailable):
        block = await live.node.block(block_hash, height)
        assert (block.ref.hash, block.contents(WatchList([destination])).transfers) == (block_hash, ())


async def test_what_a_node_calls_final_is_on_its_own_chain_or_not_said(live: Live) -> None:
    await live.mine(5)
    final = await live.node.finalized()
    assert (final is None) == (not live.chain.settings.is_tagged)
    if final is not None:
        height, block_hash = final
        assert height <= (await live.node.head())[0]
        assert await live.node.hash_at(height) == block_hash


# --- what in a block is ours --------------------------------------------------------------------------------


async def test_exactly_the_transfers_to_watched_destinations_are_found(live: Live) -> None:
    watched = [live.family.new_destination() for _ in range(2)]
    stranger, stranger_destination = live.family.new_destination()
    await live.mine()
    sent = {}
    for amount, (address, destination) in enumerate(watched, start=1):
        sent[destination] = await live.net.send(address, str(amount), chain=live.family.chain), amount
    await live.net.send(stranger, "3", chain=live.family.chain)
    await live.mine()
    found = await live.head(*sent)
    asset = live.chain.settings.asset
    assert {(t.destination, t.tx_hash.hex(), t.amount, t.asset) for t in found.transfers} == {
        (destination, tx_hash, live.units(amount), asset) for destination, (tx_hash, amount) in sent.items()
    }
    assert len({t.identity for t in found.transfers}) == len(found.transfers) == 2
    assert found.resources.keys() == {t.tx_hash for t in found.transfers}
    assert all(found.resources.values())
    assert found.transactions >= 3 and found.size_bytes > 0
    assert [t.amount for t in (await live.head(stranger_destination)).transfers] == [live.units(3)]


async def test_without_interest_a_block_means_nothing(live: Live) -> None:
    address, _ = live.family.new_destination()
    await live.net.send(address, "1", chain=live.family.chain)
    await live.mine()
    found = await live.head()
    assert (found.transfers, found.spends, found.resources, found.executions) == ((), (), {}, ())
    assert not found.movements


async def test_a_transfer_mined_again_in_another_block_is_the_same_transfer(live: Live) -> None:
    """P2: the block is an attribute, and no part of the identity."""
    address, destination = live.family.new_destination()
    first, _ = await live.family.rivals(live.net, address, "1")
    await live.mine()
    before = await live.head(destination)
    await live.reorg(1, drop=[first])
    assert (await live.head(destination)).transfers == ()
    await live.reorg(1, include=[first])
    height, _ = await live.node.head()
    again: list[Transfer] = []
    for at in range(before.ref.height, height + 1):
        block_hash = await live.node.hash_at(at)
        assert block_hash is not None and block_hash != before.ref.hash
        again += (await live.node.block(block_hash, at)).contents(WatchList([destination])).transfers
    assert [t.identity for t in again] == [t.identity for t in before.transfers]
    assert len(again) == 1


async def test_a_payment_names_all_that_it_uses_and_whoever_uses_it_is_told(live: Live) -> None:
    """So a reorg in which another transaction takes the place of a deposit shows as that deposit's replacement."""
    address, destination = live.family.new_destination()
    first, rival = await live.family.rivals(live.net, address, "1")
    await live.mine()
    before = await live.head(destination, resources=first.resources)
    assert before.resources == {first.tx_hash: first.resources}
    assert {(s.resource, s.tx_hash) for s in before.spends} == {(r, first.tx_hash) for r in first.resources}
    await live.reorg(1, drop=[first], include=[rival])
    after: list[Spend] = []
    height, _ = await live.node.head()
    for at in range(before.ref.height, height + 1):
        block_hash = await live.node.hash_at(at)
        assert block_hash is not None
        block = await live.node.block(block_hash, at)
        found = block.contents(WatchList([destination], first.resources))
        assert found.transfers == ()
        after += found.spends
    assert {(s.resource, s.tx_hash) for s in after} == {(r, rival.tx_hash) for r in first.resources}


# --- what waits ---------------------------------------------------------------------------------------------


async def test_what_waits_covers_what_is_tracked_until_a_block_has_it(live: Live) -> None:
    address, destination = live.family.new_destination()
    first, rival = await live.family.rivals(live.net, address, "1")
    await live.arrives(first.tx_hash)
    tracked = frozenset({first.tx_hash, rival.tx_hash, b"\x07" * 32})
    ids, new = await live.node.pending(NOTHING, tracked)
    assert ids & tracked == {first.tx_hash}
    assert {raw.tx_hash for raw in new} <= ids
    for raw in new:
        found = raw.contents(WatchList([destination]))
        if raw.tx_hash == first.tx_hash:
            assert found is not None and found.resources == first.resources
            assert [t.amount for t in found.transfers] == [live.units(1)]
        else:
            assert found is None
    assert (await live.node.pending(ids, tracked))[1] in ((), [])
    assert set((await live.node.spenders(first.resources)).values()) <= {first.tx_hash}
    await live.mine()
    ids, _ = await live.node.pending(NOTHING, tracked)
    assert not ids & tracked
    assert await live.node.spenders(first.resources) == {}


async def test_a_transfer_seen_waiting_has_the_identity_that_it_has_in_the_block(live: Live) -> None:
    address, destination = live.family.new_destination()
    first, _ = await live.family.rivals(live.net, address, "1")
    await live.arrives(first.tx_hash)
    _, new = await live.node.pending(NOTHING, frozenset({first.tx_hash}))
    waiting = [found for raw in new if (found := raw.contents(WatchList([destination]))) is not None]
    await live.mine()
    mined = await live.head(destination)
    for found in waiting:
        assert [t.identity for t in found.transfers] == [t.identity for t in mined.transfers]


# --- broadcasts ---------------------------------------------------------------------------------------------


async def outcome(live: Live, raw: bytes) -> BroadcastOutcome:
    answer = await live.node.broadcast(raw)
    assert (answer.node, bool(answer.detail)) == (live.node.name, True)
    return answer.outcome


async def test_the_same_bytes_are_accepted_each_time_and_then_confirmed(live: Live) -> None:
    """P3: sending again is always safe, and says where the transaction is."""
    address, _ = live.family.new_destination()
    first, rival = await live.family.rivals(live.net, address, "1")
    assert [await outcome(live, first.raw) for _ in range(2)] == [BroadcastOutcome.ACCEPTED] * 2
    assert await outcome(live, rival.raw) is BroadcastOutcome.REJECTED, "it offers too little to replace it"
    await live.mine()
    assert await outcome(live, first.raw) is BroadcastOutcome.CONFIRMED
    assert await outcome(live, rival.raw) is BroadcastOutcome.UNKNOWN, (
        "only tracking can tell what became of it"
    )


@pytest.mark.parametrize("raw", [b"", b"\0", b"nonsense", b"\x02\xc0", b"\xff" * 2_000])
async def test_bytes_that_are_no_transaction_are_never_taken_for_sent(live: Live, raw: bytes) -> None:
    assert await outcome(live, raw) in (BroadcastOutcome.REJECTED, BroadcastOutcome.UNKNOWN)


async def test_a_damaged_transaction_is_never_taken_for_sent(live: Live) -> None:
    address, _ = live.family.new_destination()
    first, _ = await live.family.rivals(live.net, address, "1")
    for damaged in (first.raw[:-1], first.raw + b"\0", first.raw[:-1] + bytes([first.raw[-1] ^ 1])):
        assert await outcome(live, damaged) is not BroadcastOutcome.CONFIRMED
    await live.mine()
    assert await outcome(live, first.raw) is BroadcastOutcome.CONFIRMED


async def test_a_send_whose_answer_is_an_error_is_unknown_and_sent_again_accepted(live: Live) -> None:
    address, _ = live.family.new_destination()
    first, _ = await live.family.rivals(live.net, address, "1")
    await live.net.fault(0, "error_after_send", chain=live.family.chain)
    assert await outcome(live, first.raw) is BroadcastOutcome.UNKNOWN
    await live.net.clear_faults()
    assert await outcome(live, first.raw) is BroadcastOutcome.ACCEPTED


async def test_a_node_that_does_not_answer_is_unavailable_to_every_question(live: Live) -> None:
    """Named, so that the pool fails over; nothing else ever comes out of an adapter."""
    height, block_hash = await live.node.head()
    await live.net.fault(0, "drop", chain=live.family.chain)
    node = live.node
    for asked in (
        node.head(),
        node.hash_at(height),
        node.block(block_hash, height),
        node.pending(NOTHING, frozenset({block_hash})),
        node.broadcast(b"nonsense"),
        node.fee_market(),
    ):
        with pytest.raises(NodeUnavailable):
            await asked


async def test_the_market_is_in_whole_positive_units(live: Live) -> None:
    await live.mine()
    market = await live.node.fee_market()
    assert type(market.floor) is int and market.floor > 0
    assert all(type(n) is int and n > 0 for pair in market.estimates.items() for n in pair)
    assert not live.chain.fees.beyond_cap(market)


# --- addresses and keys -------------------------------------------------------------------------------------


@every_family
def test_derivation_is_gap_free_distinct_and_the_same_as_another_librarys(family: Family) -> None:
    chain = OFFLINE[family.chain]
    seen: set[bytes] = set()
    for scheme, key in chain.keys.items():
        for branch in key.ahead:
            derived = [*key.derive(branch, 0, 12), *key.derive(branch, 12, 8)]
            assert [index for index, _, _ in derived] == list(range(20))
            assert [text for _, _, text in derived] == [family.theirs(scheme, branch, n) for n in range(20)]
            assert seen.isdisjoint(destination for _, destination, _ in derived)
            seen.update(destination for _, destination, _ in derived)
            assert key.derive(branch, 5, 0) == []
    assert len(seen) == 20 * sum(len(key.ahead) for key in chain.keys.values())
    assert chain.scheme in chain.keys
    assert chain.vault is None or chain.vault in seen


@every_family
def test_an_address_of_ours_reads_as_its_destination(family: Family) -> None:
    chain = OFFLINE[family.chain]
    for key in chain.keys.values():
        for branch in key.ahead:
            for _, destination, text in key.derive(branch, 0, 20):
                assert chain.read_address(text) == destination


@every_family
def test_an_address_of_elsewhere_is_refused_with_a_reason(family: Family) -> None:
    others = [other.theirs(other_scheme, 0, 0) for other, other_scheme in _schemes() if other is not family]
    for text in [*family.foreign_addresses, *others, "", " ", "nonsense", "1" * 500]:
        refused = OFFLINE[family.chain].read_address(text)
        assert isinstance(refused, InvalidAddress) and refused.reason


def _schemes() -> list[tuple[Family, int]]:
    return [(family, scheme) for family in FAMILIES for scheme in OFFLINE[family.chain].keys]


@pytest.mark.parametrize(("family", "scheme"), _schemes())
def test_a_mistyped_address_is_nobodys(family: Family, scheme: int) -> None:
    """Every letter in the place of every other, and what is lost or doubled in copying."""
    text, read = family.theirs(scheme, 0, 1), OFFLINE[family.chain].read_address
    for place in range(len(text)):
        for letter in string.ascii_letters + string.digits:
            if letter != text[place]:
                assert isinstance(read(text[:place] + letter + text[place + 1 :]), InvalidAddress)
    for other in (text[:-1], text + text[-1], text[1:], " " + text, text + "\n", text + text):
        assert isinstance(read(other), InvalidAddress)


# --- plans --------------------------------------------------------------------------------------------------

amounts = st.lists(st.integers(10_000, 10**8), min_size=1, max_size=12)
rate_parts = st.tuples(st.floats(0, 0.3), st.floats(0, 1))


def recipients_of(family: Family, payments: Sequence[int]) -> list[Recipient]:
    derived = OFFLINE[family.chain].keys[OFFLINE[family.chain].scheme].derive(0, 100, len(payments))
    return [
        Recipient(destination, BaseUnits(amount))
        for (_, destination, _), amount in zip(derived, payments, strict=True)
    ]


def market_of(family: Family, parts: tuple[float, float]) -> FeeMarket:
    """A market below the cap: its floor, and estimates around it."""
    low, cap = family.rate_bounds(OFFLINE[family.chain])
    floor = max(low, int(cap * parts[0]))
    return FeeMarket({1: int(floor * (1 + parts[1])), 3: floor, 10: max(1, floor // 2)}, floor)


@every_family
@given(payments=amounts, parts=rate_parts, priority=st.sampled_from(PRIORITIES))
@settings(max_examples=60)
def test_a_plan_pays_everybody_survives_the_disk_and_is_the_same_each_time(
    family: Family, payments: list[int], parts: tuple[float, float], priority: Priority
) -> None:
    chain, recipients = OFFLINE[family.chain], recipients_of(family, payments)
    bid = chain.fees.bid(market_of(family, parts), priority)
    plan = family.planned(chain, recipients, bid)
    assert family.paid(plan) == {recipient.destination: recipient.amount for recipient in recipients}
    assert plan.fee > 0 and plan.size > 0 and plan.resources
    assert len(set(plan.resources)) == len(plan.resources)
    assert len(plan.positions) in (0, len(recipients))
    assert family.planned(chain, recipients, bid) == plan
    read = chain.planner.read(plan.to_json())
    assert read == plan
    assert read.to_json() == plan.to_json()
    assert (read.tx_hash, read.resources, read.fee, read.size) == (
        plan.tx_hash,
        plan.resources,
        plan.fee,
        plan.size,
    )


@every_family
@given(payments=amounts, parts=rate_parts, priority=st.sampled_from(PRIORITIES))
@settings(max_examples=30)
def test_every_replacement_is_relayed_uses_and_pays_the_same_and_the_cap_ends_them(
    family: Family, payments: list[int], parts: tuple[float, float], priority: Priority
) -> None:
    """P3: each conflicts with each, by the very resources of the first."""
    chain = OFFLINE[family.chain]
    _, cap = family.rate_bounds(chain)
    market = market_of(family, parts)
    plan: Plan = family.planned(chain, recipients_of(family, payments), chain.fees.bid(market, priority))
    for _ in range(100):
        bid = chain.fees.raised(market, plan, priority)
        if bid is None:
            break
        assert bid.tip <= bid.rate <= cap
        bumped = chain.planner.bump(plan, bid)
        assert not isinstance(bumped, Insufficient)
        assert set(bumped.resources) == set(plan.resources)
        assert family.paid(bumped) == family.paid(plan)
        assert bumped.fee > plan.fee
        assert family.is_relayed(plan, bumped)
        assert chain.planner.bump(plan, bid) == bumped == chain.planner.read(bumped.to_json())
        plan = bumped
    else:
        pytest.fail("the fee was raised a hundred times")


@every_family
@given(
    floor=st.integers(0, 10**13),
    estimates=st.dictionaries(st.integers(1, 1000), st.integers(0, 10**13), max_size=4),
    priority=st.sampled_from(PRIORITIES),
)
def test_every_bid_is_within_floor_and_cap_whatever_the_market_says(
    family: Family, floor: int, estimates: dict[int, int], priority: Priority
) -> None:
    chain = OFFLINE[family.chain]
    least, cap = family.rate_bounds(chain)
    market = FeeMarket(estimates, floor)
    bid = chain.fees.bid(market, priority)
    assert least <= bid.rate <= cap and 0 <= bid.tip <= bid.rate
    assert chain.fees.beyond_cap(market) == (floor > cap)
    assert bid.rate >= min(floor, cap), "or no node would take it"
    assert chain.fees.market_rate(market, priority) >= 0
    assert chain.fees.bid(market, priority) == bid


@every_family
def test_a_more_urgent_payment_never_waits_longer_for_its_replacement_nor_offers_less(family: Family) -> None:
    fees, market = OFFLINE[family.chain].fees, market_of(family, (0.1, 1))
    patience = [fees.patience_blocks(priority) for priority in PRIORITIES]
    assert patience == sorted(patience, reverse=True) and patience[-1] >= 1
    rates = [fees.bid(market, priority).rate for priority in PRIORITIES]
    assert rates == sorted(rates)


@every_family
@given(flags=st.lists(st.booleans(), min_size=1, max_size=20))
def test_who_is_paid_together_is_a_choice_that_has_the_first_of_them(
    family: Family, flags: list[bool]
) -> None:
    planner = OFFLINE[family.chain].planner
    chosen = list(planner.together(recipients_of(family, [10_000] * len(flags)), flags))
    assert chosen[0] == 0 and chosen == sorted(set(chosen)) and chosen[-1] < len(flags)
    if not any(flags):
        assert chosen == list(range(len(flags))), "nothing keeps them apart"


@every_family
@pytest.mark.parametrize("document", [b"", b"{}", b"[]", b"null", b'{"transaction":{}}', b"\xff"])
def test_a_document_that_no_plan_wrote_is_a_value_error(family: Family, document: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whichever the document makes it
        OFFLINE[family.chain].planner.read(document)
