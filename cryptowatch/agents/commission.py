"""From what players did in a period to what each agent of a tree gets, in one asset. Pure; called by `statements`.

An agent earns its rates on all play below it: of its own players and of every agent under it. Out of that it pays the
agents directly under it, who pay those under them; what is left is its own. So a level never pays more than it earns:

    rate       an agent's own, and never above that of the agent above it (`plans.capped`)
    revenue    sum over products of net gaming revenue x rate; without `carry_over` no less than nothing
    turnover   sum over products of turnover x rate; negative where more was refunded than bet
    earned     revenue + turnover + what was carried over (never positive); what is below nothing is carried over
    granted    of a root what it earned; of others too, but lowered in proportion where the agent above was granted
               less than those directly under it earned together
    amount     granted, without what those directly under it were granted

Everything that is paid in a tree therefore adds up to what its root earned, to the unit.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from cryptowatch.agents.plans import WHOLE_BP, Plan, capped, rate


@dataclass(frozen=True, slots=True)
class Played:
    """What was played, in base units of the asset."""

    bet: int = 0
    win: int = 0
    refund: int = 0
    bonus: int = 0

    @property
    def revenue(self) -> int:
        """Net gaming revenue; negative where players won."""
        return self.bet - self.refund - self.win - self.bonus

    @property
    def turnover(self) -> int:
        return self.bet - self.refund

    def __add__(self, other: "Played") -> "Played":
        return Played(
            self.bet + other.bet, self.win + other.win, self.refund + other.refund, self.bonus + other.bonus
        )


@dataclass(frozen=True, slots=True)
class Agent:
    """One of a forest. `parent` None: a root."""

    id: UUID
    parent: UUID | None
    plan: Plan


@dataclass(frozen=True, slots=True)
class Settlement:
    """See the module. `plan`: the rates that were used; `below`: what was played below, by product.

    `carry_out` is never positive.
    """

    plan: Plan
    below: Mapping[str, Played]
    carry_in: int
    carry_out: int
    earned: int
    granted: int
    amount: int


def settle(
    agents: Sequence[Agent],
    played: Mapping[UUID, Mapping[str, Played]],
    carried: Mapping[UUID, int],
) -> dict[UUID, Settlement]:
    """`played`: by agent what its own players did, by product. `carried`: what earlier periods left, never positive.

    A parent that is not among the agents is none. Raises ValueError for a ring.
    """
    ordered = _from_the_top(agents)
    children = defaultdict[UUID | None, list[UUID]](list)
    known = {agent.id for agent in agents}
    plans = dict[UUID, Plan]()
    for agent in ordered:
        parent = agent.parent if agent.parent in known else None
        children[parent].append(agent.id)
        plans[agent.id] = agent.plan if parent is None else capped(agent.plan, plans[parent])
    below = dict[UUID, dict[str, Played]]()
    for agent in reversed(ordered):
        sums = defaultdict[str, Played](Played, played.get(agent.id, {}))
        for child in children[agent.id]:
            for product, part in below[child].items():
                sums[product] += part
        below[agent.id] = dict(sums)
    earned = {id_: _earned(plan, below[id_], carried.get(id_, 0)) for id_, plan in plans.items()}
    granted = {id_: earned[id_][0] for id_ in children[None]}
    found = dict[UUID, Settlement]()
    for agent in ordered:
        parts = _shared({child: earned[child][0] for child in children[agent.id]}, granted[agent.id])
        granted |= parts
        own = granted[agent.id]
        gross, carry_out = earned[agent.id]
        found[agent.id] = Settlement(
            plan=plans[agent.id],
            below=below[agent.id],
            carry_in=carried.get(agent.id, 0),
            carry_out=carry_out,
            earned=gross,
            granted=own,
            amount=own - sum(parts.values()),
        )
    return found


def _earned(plan: Plan, below: Mapping[str, Played], carry_in: int) -> tuple[int, int]:
    """(what is earned, what is carried over); each share is rounded down once, after it is added up.

    What was paid for bets that a later period refunds is always taken back, whatever the plan forgets.
    """
    revenue = sum(part.revenue * rate(plan.revenue_share, product) for product, part in below.items())
    turnover = sum(part.turnover * rate(plan.turnover, product) for product, part in below.items())
    share = revenue // WHOLE_BP
    total = (share if plan.carry_over else max(0, share)) + turnover // WHOLE_BP + carry_in
    return max(0, total), min(0, total)


def _shared(claims: Mapping[UUID, int], available: int) -> dict[UUID, int]:
    """Each its claim, or all in proportion, rounded down, where together they are more than there is."""
    total = sum(claims.values())
    if total <= available:
        return dict(claims)
    return {id_: claim * available // total for id_, claim in claims.items()}


def _from_the_top(agents: Sequence[Agent]) -> list[Agent]:
    """Each after the one above it; those of one level by id."""
    known = {agent.id for agent in agents}
    under = defaultdict[UUID | None, list[Agent]](list)
    for agent in sorted(agents, key=lambda agent: agent.id):
        under[agent.parent if agent.parent in known else None].append(agent)
    ordered, level = list[Agent](), under[None]
    while level:
        ordered += level
        level = [child for agent in level for child in under[agent.id]]
    if len(ordered) < len(agents):
        raise ValueError("agents stand above themselves")
    return ordered
