"""P1, P2: any history of postings, real Postgres against a model of a few lines. Found by Hypothesis."""

import asyncio
from collections.abc import Iterator
from itertools import count
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from cryptowatch.db.pool import prepare_connection
from cryptowatch.ledger.accounts import ensure_accounts, ensure_players, house
from cryptowatch.ledger.balances import account_balance, house_balances, roll_up
from cryptowatch.ledger.postings import Posted, PostingRefused, post, post_all, post_each
from cryptowatch.ledger.rules import (
    DONE,
    EFFECTS,
    Balance,
    CustomerAccount,
    HouseAccount,
    Kind,
    Posting,
    Status,
    customer_posting,
    house_transfer,
)
from cryptowatch.ledger.verify import verify
from cryptowatch.money import BaseUnits
from tests.database.world import NOW

PLAYERS = 3
#: What games move: `ledger_post_played` takes these.
PLAYED = (Kind.BET, Kind.WIN, Kind.REFUND, Kind.BONUS, Kind.ADJUSTMENT_CREDIT, Kind.ADJUSTMENT_DEBIT)
AMOUNTS = st.integers(1, 60) | st.sampled_from([2**64, 2**256 - 1])


class Model:
    """What the ledger should do, one posting at a time."""

    def __init__(self) -> None:
        self.balances: dict[CustomerAccount, Balance] = {}
        self.houses: dict[int, int] = {}
        self.postings: dict[str, tuple[Posting, Balance | None]] = {}
        self.resolved: set[str] = set()

    def post(self, posting: Posting) -> Posted:
        if posting.key in self.postings:
            earlier, balance = self.postings[posting.key]
            return Posted(Status.EXISTS if earlier == posting else Status.CONFLICT, balance)
        if posting.resolves is not None and posting.resolves in self.resolved:
            return Posted(Status.ALREADY_RESOLVED, None)
        balance = None
        if posting.customer is not None:
            before = self.balances[posting.customer]
            if not before.allows(posting.kind, posting.amount_base_units):
                return Posted(Status.INSUFFICIENT_FUNDS, before)
            balance = self.balances[posting.customer] = before.after(posting.kind, posting.amount_base_units)
        for account, sign in ((posting.from_account, -1), (posting.to_account, 1)):
            if account is not None and account != posting.customer:
                self.houses[account] += sign * posting.amount_base_units
        if posting.resolves is not None:
            self.resolved.add(posting.resolves)
        self.postings[posting.key] = (posting, balance)
        return Posted(Status.CREATED, balance)

    def copy(self) -> "Model":
        twin = Model()
        twin.balances, twin.houses = dict(self.balances), dict(self.houses)
        twin.postings, twin.resolved = dict(self.postings), set(self.resolved)
        return twin


class LedgerMachine(RuleBasedStateMachine):
    connection: Any
    loop: asyncio.AbstractEventLoop
    players: "Iterator[int]"
    houses: tuple[HouseAccount, HouseAccount]

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.example = next(type(self).players)
        self.keys = count()
        owners = [(UUID(int=self.example * 100 + n + 1), "BTC") for n in range(PLAYERS)]
        ids = self.run(ensure_players(self.connection, owners))
        self.customers = [ids[owner] for owner in owners]
        self.model.balances = dict.fromkeys(self.customers, Balance())
        self.before = {h.id: h.base_units for h in self.run(house_balances(self.connection))}
        self.model.houses = dict.fromkeys(self.houses, 0)

    def run(self, coroutine: Any) -> Any:
        return self.loop.run_until_complete(coroutine)

    def draw(self, data: Any) -> Posting:
        """Any posting that a program without mistakes could make: new, repeated, or under a taken key."""
        earlier = list(self.model.postings)
        choice = data.draw(st.sampled_from(["new"] * 8 + ["resolve"] * 4 + ["repeat", "reuse", "house"]))
        if choice == "repeat" and earlier:
            return self.model.postings[data.draw(st.sampled_from(earlier))][0]
        taken = choice == "reuse" and bool(earlier)
        key = data.draw(st.sampled_from(earlier)) if taken else f"{self.example}:{next(self.keys)}"
        amount = BaseUnits(data.draw(AMOUNTS))
        if choice == "house":
            from_account, to_account = data.draw(st.permutations(self.houses))
            return house_transfer(key, from_account, to_account, amount)
        if choice == "resolve":
            used = frozenset(kind for effect in EFFECTS.values() for kind in effect.resolves)
            opened = [p for p, _ in self.model.postings.values() if p.kind in used and p.key != key]
            if opened:
                return self.resolution(data, key, data.draw(st.sampled_from(opened)))
        kinds = [k for k, e in EFFECTS.items() if not e.resolves and k is not Kind.HOUSE_TRANSFER]
        kind = data.draw(st.sampled_from([*kinds, Kind.HOLD, Kind.HOLD, Kind.DEPOSIT_CREDIT]))
        customer = data.draw(st.sampled_from(self.customers))
        reference = data.draw(st.none() | st.just("round"))
        return customer_posting(kind, key, customer, self.house_of(kind), amount, reference=reference)

    def resolution(self, data: Any, key: str, opened: Posting) -> Posting:
        kind = data.draw(st.sampled_from([k for k, e in EFFECTS.items() if opened.kind in e.resolves]))
        customer = CustomerAccount(opened.customer or 0)
        return customer_posting(
            kind, key, customer, self.house_of(kind), opened.amount_base_units, resolves=opened.key
        )

    def house_of(self, kind: Kind) -> HouseAccount | None:
        return None if EFFECTS[kind].total == 0 else self.houses[kind.startswith(("deposit", "hold"))]

    @rule(data=st.data())
    def post_one(self, data: Any) -> None:
        posting = self.draw(data)
        assert self.run(post(self.connection, posting, NOW)) == self.model.post(posting)

    @rule(data=st.data(), size=st.integers(1, 8))
    def post_a_batch(self, data: Any, size: int) -> None:
        postings = [self.draw(data) for _ in range(size)]
        assert self.run(post_each(self.connection, postings, NOW)) == [self.model.post(p) for p in postings]

    def played(self, data: Any) -> Posting:
        """As `draw`, of what games move; a key that was drawn for the same batch may come again."""
        earlier = [key for key, (p, _) in self.model.postings.items() if p.kind in PLAYED]
        choice = data.draw(st.sampled_from(["new"] * 8 + ["repeat", "reuse", "last"]))
        if choice == "repeat" and earlier:
            return self.model.postings[data.draw(st.sampled_from(earlier))][0]
        key = f"{self.example}:{next(self.keys)}"
        if choice == "reuse" and self.model.postings:
            key = data.draw(st.sampled_from(list(self.model.postings)))
        if choice == "last":
            key = f"{self.example}:last"
        kind = data.draw(st.sampled_from([*PLAYED, Kind.BET, Kind.BET]))
        customer = data.draw(st.sampled_from(self.customers))
        amount, reference = BaseUnits(data.draw(AMOUNTS)), data.draw(st.none() | st.just("round"))
        return customer_posting(kind, key, customer, self.houses[0], amount, reference=reference)

    @rule(data=st.data(), size=st.integers(1, 12))
    def post_what_is_played(self, data: Any, size: int) -> None:
        postings = [self.played(data) for _ in range(size)]
        row = self.run(
            self.connection.fetchrow(
                "SELECT * FROM ledger_post_played($1, $2, $3, $4, $5, $6, $7, $8)",
                [p.key for p in postings],
                [p.kind for p in postings],
                [p.customer for p in postings],
                [self.houses[0]] * size,
                [p.amount_base_units for p in postings],
                [p.reference for p in postings],
                NOW,
                len({p.key for p in postings}) < size,
            )
        )
        answers = [
            Posted(Status(status), None if parts[0] is None else Balance(*parts))
            for status, *parts in zip(*row.values(), strict=True)
        ]
        assert answers == [self.model.post(p) for p in postings]

    @rule(data=st.data(), size=st.integers(1, 4))
    def post_all_or_nothing(self, data: Any, size: int) -> None:
        postings = [self.draw(data) for _ in range(size)]
        after = self.model.copy()
        expected = [after.post(p) for p in postings]
        refused = next((p for p, e in zip(postings, expected, strict=True) if e.status not in DONE), None)
        if refused is None:
            self.model = after
            self.run(post_all(self.connection, postings, NOW))
        else:
            with pytest.raises(PostingRefused) as refusal:
                self.run(post_all(self.connection, postings, NOW))
            assert refusal.value.posting == refused

    @rule()
    def roll_up_the_house(self) -> None:
        self.run(roll_up(self.connection))

    @invariant()
    def balances_are_the_models(self) -> None:
        for customer, balance in self.model.balances.items():
            assert self.run(account_balance(self.connection, customer)) == balance
        moved = {h.id: h.base_units - self.before[h.id] for h in self.run(house_balances(self.connection))}
        assert moved == self.model.houses
        assert sum(moved.values()) + sum(b.total for b in self.model.balances.values()) == 0


def test_p1_p2_every_history_of_postings_ends_where_the_model_says(database: str) -> None:
    async def connect() -> tuple[Any, tuple[HouseAccount, ...]]:
        connection = await asyncpg.connect(database)
        await prepare_connection(connection)
        ids = await ensure_accounts(connection, [house("game", "BTC"), house("custody:bitcoin", "BTC")])
        return connection, tuple(HouseAccount(id_) for id_ in ids)

    with asyncio.Runner() as runner:
        connection, houses = runner.run(connect())
        attributes = {
            "connection": connection,
            "houses": houses,
            "loop": runner.get_loop(),
            "players": count(),
        }
        machine = type("Machine", (LedgerMachine,), attributes)
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=80,
                stateful_step_count=25,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
        report = runner.run(verify(connection))
        assert report.findings == []
        assert report.postings > 200  # the histories were not empty
        runner.run(connection.close())
