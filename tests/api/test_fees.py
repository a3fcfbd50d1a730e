"""What a payment would bid now: surveyed on fake nodes, kept in the database, shown by the API."""

from dataclasses import dataclass, field
from datetime import timedelta

from cryptowatch.api.keys import Scope
from cryptowatch.chains.backlog import backlog
from cryptowatch.chains.bitcoin.fees import BitcoinFees
from cryptowatch.chains.forecast import Forecaster
from cryptowatch.chains.nodes import NodePool
from cryptowatch.chains.port import FeeMarket
from cryptowatch.sending.market import Market, market_rules
from tests.api.world import Caller, World
from tests.support.fake_nodes import FakeNode, chain

BLOCK = 4_000_000


@dataclass
class Told:
    """Keeps the last of each."""

    market: dict[str, int] = field(default_factory=dict)
    estimator: tuple[bool, float] = (False, 0)

    def on_market(self, priority: str, market_rate: int) -> None:
        self.market[priority] = market_rate

    def on_estimator(self, is_ready: bool, history_s: float) -> None:
        self.estimator = is_ready, history_s


def market_of(world: World, node: FakeNode, told: Told) -> Market:
    settings, clock = world.services.settings.chains["bitcoin"], world.clock
    assert settings.family == "bitcoin"
    nodes = NodePool("bitcoin", [node], quorum=1, clock=clock, lag_blocks_max=3, quarantine_s=60)
    fees, rules = BitcoinFees(settings.fees), market_rules("bitcoin", settings)
    return Market(nodes, world.pool, clock, fees, rules, Forecaster(600), told)


async def test_fees_show_bids_waits_and_the_facts_behind_them(world: World, backend: Caller) -> None:
    assert (await backend.get("/v1/fees?chain=bitcoin")).code == "fees_unknown"
    node, told = FakeNode("one", chain(3)), Told()
    node.market = FeeMarket({2: 40_000, 6: 20_000, 24: 3_000}, floor=1_500)
    # More than a block waits at 12 sat/vB.
    node.waiting = backlog([(12_000, BLOCK + 1)], BLOCK)
    market = market_of(world, node, told)
    await market.step()

    shown = (await backend.get("/v1/fees?chain=bitcoin")).body
    assert (shown["chain"], shown["asset"], shown["rate_unit"]) == ("bitcoin", "BTC", "sat/vB")
    assert (shown["floor"], shown["beyond_cap"], shown["estimator"]) == ("1.500", False, "gathering")
    assert shown["node_estimates"] == {"2": "40.000", "6": "20.000", "24": "3.000"}
    assert 11_880 <= int(shown["projection"][0].replace(".", "")) <= 12_121
    assert shown["projection"][1] == "0.000"
    urgent, normal, economy = shown["priorities"]
    assert urgent == {
        "priority": "urgent",
        "rate": "40.000",
        "market_rate": "40.000",
        # 141 virtual bytes.
        "fee": "0.00005640",
        "expected_blocks": 2,
        "expected_s": 1200.0,
        "waits": None,
        "wait_max_s": 0.0,
    }
    assert (normal["rate"], economy["rate"], economy["expected_blocks"]) == ("20.000", "3.000", 24)
    assert told.market == {"urgent": 40_000, "normal": 20_000, "economy": 3_000}

    # Half an hour later our own estimator knows enough: all that waits fits into two blocks, and nothing joined.
    world.clock.move(1_800)
    await market.step()
    later = (await backend.get("/v1/fees?chain=bitcoin")).body
    assert later["estimator"] == "ready" and 1_800 <= later["estimator_history_s"] < 1_900
    assert [row["market_rate"] for row in later["priorities"]] == ["1.500"] * 3, "the nodes' floor"
    assert [row["rate"] for row in later["priorities"]] == ["1.500"] * 3
    assert told.estimator[0] and told.estimator[1] >= 1_800


async def test_fees_say_why_an_economy_payout_would_wait(world: World, backend: Caller) -> None:
    node = FakeNode("one", chain(3), market=FeeMarket({2: 3_000}, 1_000))
    market = market_of(world, node, Told())
    now = world.clock.now()
    await world.pool.executemany(
        "INSERT INTO fee_level (chain, slot, level) VALUES ('bitcoin', $1, 1000)",
        [(now - timedelta(minutes=10 * number),) for number in range(1, 37)],
    )
    await market.step()
    shown = (await backend.get("/v1/fees?chain=bitcoin")).body
    assert shown["estimator"] == "none", "nothing is known of what waits"
    assert shown["recent"] | {"samples": 0} == {
        "samples": 0,
        "lowest": "1.000",
        "cheap": "1.000",
        "median": "1.000",
        "highest": "3.000",
    }
    urgent, normal, economy = shown["priorities"]
    assert economy["waits"].startswith("fees are at 3.000 sat/vB, and it leaves at 1.200 or less, or in 14")
    assert (urgent["waits"], normal["waits"], economy["wait_max_s"]) == (None, None, 14_400)


async def test_fees_of_an_unknown_chain_and_without_the_scope(world: World, backend: Caller) -> None:
    assert (await backend.get("/v1/fees?chain=dogecoin")).code == "unknown_chain"
    assert (await backend.get("/v1/fees")).code == "invalid_request"
    stranger = await world.caller([Scope.LEDGER])
    assert (await stranger.get("/v1/fees?chain=bitcoin")).code == "forbidden"
