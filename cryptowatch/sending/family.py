"""Our transactions that no block holds and that spend one another's change: how deep, and at what rate they are mined.

Pure; called by `coins`, `children` and `worker`. A child can be mined only after its parents, so what a fee brings is
decided by the package that a block's builder takes them in (`chains.bitcoin.packages`).
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from uuid import UUID

from cryptowatch.chains.bitcoin.packages import Waiting, packages

_WEIGHT_VB = 4


@dataclass(frozen=True, slots=True)
class Member:
    """One of our open transactions, by its newest attempt: satoshi, virtual bytes, and the height when it was planned.

    `parents`: whose change it spends. `firm`: a node took it, nothing is known to conflict with it, and what it spends
    is in blocks or change of its parents' newest attempts.
    """

    fee: int
    size: int
    planned_height: int
    parents: frozenset[UUID] = frozenset()
    firm: bool = True
    #: What it spends is used by another one in a block, or is change of an attempt that was replaced.
    lost: bool = False
    #: Satoshi per virtual byte of its first attempt, by which its budget counts.
    first_rate: Fraction = Fraction(0)
    #: Whether it pays others; what does not is paid for by what it lifts.
    pays: bool = True
    signed: bool = True
    #: Whether a quorum of nodes ever had any of its attempts.
    taken: bool = True
    #: Whether a quorum had the newest one.
    held: bool = True
    #: Whether its newest attempt was made to raise what it stands on: a replacement, or what pays nobody.
    lifts: bool = False


@dataclass(frozen=True, slots=True)
class Package:
    """What is mined together: a `plans.Offer`."""

    fee: int
    size: int

    @property
    def rate(self) -> int:
        """Satoshi per 1000 virtual bytes, rounded down."""
        return self.fee * 1000 // self.size


@dataclass(frozen=True, slots=True)
class Family:
    """All open transactions of one chain. `children`: who spends a member's change, where anybody does.

    `offers`: of those with relatives, the package that each is mined in. `left_out`: children that are no members,
    since they hold nobody up any more (`without_idle`).
    """

    members: Mapping[UUID, Member]
    children: Mapping[UUID, Collection[UUID]]
    offers: Mapping[UUID, Package]
    depths: Mapping[UUID, int]
    left_out: Mapping[UUID, Collection[UUID]] = field(default_factory=lambda: defaultdict(set))

    def ancestors(self, of: Collection[UUID]) -> set[UUID]:
        """These, and all that they stand on."""
        return _reachable(of, lambda one: self.members[one].parents)

    def related(self, of: UUID) -> set[UUID]:
        """It, and all whose fees have to do with its own: by parents and children in any direction."""
        return _reachable([of], lambda one: {*self.members[one].parents, *self.children.get(one, ())})

    def is_lost(self, lineage_id: UUID) -> bool:
        """Whether no fee brings it into a block as things are: it, or what it stands on, lost to another."""
        return any(self.members[one].lost for one in self.ancestors([lineage_id]))

    def depth(self, lineage_id: UUID) -> int:
        """How many that no block holds stand above one another: it, and the longest line of its ancestors."""
        return self.depths[lineage_id]

    def descendants(self, of: UUID) -> list[UUID]:
        """Who stands on it, the oldest first."""
        return sorted(_reachable([of], lambda one: self.children.get(one, ())) - {of})

    def leaves(self, of: UUID) -> list[UUID]:
        """Through whom it is raised when its change is spent: its descendants that nobody stands on."""
        return [one for one in self.descendants(of) if one not in self.children]

    def waiting_since(self, lineage_id: UUID) -> int:
        """The height at which it, or the last one that was to raise it, was planned: from there on it waits.

        Whoever spends its change and pays for himself alone gives it no new chance.
        """
        raising = [one for one in self.descendants(lineage_id) if self.members[one].lifts]
        return max(self.members[one].planned_height for one in (lineage_id, *raising))

    def spendable(self, depth_max: int, least_rate: int) -> list[UUID]:
        """Whose change a new transaction may spend: all firm, not too deep, and mined for the rate without its help."""
        return [
            lineage_id
            for lineage_id, member in self.members.items()
            if all(self.members[one].firm for one in self.ancestors([lineage_id]))
            and self.depth(lineage_id) <= depth_max
            and self.offers.get(lineage_id, Package(member.fee, member.size)).rate >= least_rate
        ]

    def without_idle(self, height: int, blocks: int, floor: int) -> "Family":
        """Less those that spend others' change and that nobody has after so many blocks, and what stands on them.

        Nobody: the signer made them wait, or no quorum of nodes ever took them, nor what stands on them, though they
        pay what nodes relay. Where they pay less it is the fee that must be raised, as of one that full mempools
        dropped, which was taken before.
        `floor`: satoshi per 1000 virtual bytes, 0 where it is not known.
        """
        idle = {
            lineage_id
            for lineage_id, member in self.members.items()
            if member.parents
            and not any(self.members[one].taken for one in (lineage_id, *self.descendants(lineage_id)))
            and height - member.planned_height >= blocks
            and (not member.signed or 0 < floor <= self.offers[lineage_id].rate)
        }
        if not idle:
            return self
        gone = _reachable(idle, lambda one: self.children.get(one, ()))
        rest = family_of({one: member for one, member in self.members.items() if one not in gone})
        left_out = {one: gone.intersection(self.children.get(one, ())) for one in rest.members}
        return replace(rest, left_out=left_out)

    def shortfall(self, parents: Collection[UUID], rate: int | Fraction) -> int:
        """What a child of these pays for them beside its own size, so that all are mined for the rate. Satoshi.

        Of the packages that its ancestors alone would be mined in, those that pay less are mined with it, and lack
        rate * size - fee each. Bitcoin Core's node/mini_miner.h (CalculateTotalBumpFees). What others' children pay for
        them is left out.
        """
        return self._lack(self.ancestors(parents), rate)

    def left_to_pay(
        self, parents: Collection[UUID], rate: int | Fraction, instead_of: UUID | None = None
    ) -> int:
        """The same, less for those that others' children lift to the rate, who are replaced by such as pay more.

        `instead_of`: whose replacement is to pay it.
        """
        own = set() if instead_of is None else {instead_of, *self.descendants(instead_of)}
        others = family_of({one: member for one, member in self.members.items() if one not in own})
        below = self.ancestors(parents)
        return self._lack(
            {one for one in below if one not in others.offers or others.offers[one].rate < rate}, rate
        )

    def _lack(self, of: Collection[UUID], rate: int | Fraction) -> int:
        poor = [one for one in _packages({name: self.members[name] for name in of}) if one[1].rate < rate]
        return sum(max(0, -(-package.size * rate // 1000) - package.fee) for _, package in poor)


def family_of(members: Mapping[UUID, Member]) -> Family:
    """Every parent is a member."""
    offers = {
        lineage_id: package
        for names, package in _packages(members)
        for lineage_id in names
        if len(names) > 1 or members[lineage_id].parents
    }
    children = defaultdict[UUID, list[UUID]](list)
    for lineage_id, member in members.items():
        for parent in member.parents:
            children[parent].append(lineage_id)
    return Family(members, dict(children), offers, _depths(members))


def _depths(members: Mapping[UUID, Member]) -> Mapping[UUID, int]:
    """Each looked at once: a line with several parents in each generation has very many ways down."""
    found: dict[UUID, int] = {}
    waiting = list(members)
    while waiting:
        one = waiting[-1]
        unknown = [parent for parent in members[one].parents if parent not in found]
        if unknown:
            waiting += unknown
        else:
            found[one] = 1 + max((found[parent] for parent in members[one].parents), default=0)
            waiting.pop()
    return found


def _reachable(of: Collection[UUID], linked: Callable[[UUID], Collection[UUID]]) -> set[UUID]:
    """These, and all that they lead to."""
    found, to_visit = set(of), list(of)
    while to_visit:
        new = set(linked(to_visit.pop())) - found
        found |= new
        to_visit += new
    return found


def _packages(members: Mapping[UUID, Member]) -> list[tuple[list[UUID], Package]]:
    pool = {
        str(lineage_id): Waiting(member.fee, member.size * _WEIGHT_VB, tuple(map(str, member.parents)))
        for lineage_id, member in members.items()
    }
    return [
        (
            [UUID(name) for name in package.members],
            Package(package.fee, package.weight // _WEIGHT_VB),
        )
        for package in packages(pool)
    ]
