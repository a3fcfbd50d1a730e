"""How far one node is trusted now: its lag, failures, lies and quarantine. Pure; times come in as values.

Kept by `chains.nodes`, one per node. Keeps P5:

- A node that lied (its answer contradicts the hash that it was asked for) is quarantined: nothing is read
  from it and its voice does not count. Each further lie doubles the term, up to 16 times.
- A node on another branch than the quorum for several rounds is quarantined as well, but its voice still
  counts: being outvoted proves no lie, and when the quorum moves to that node's branch, its voice is needed.
  This adds no risk, because a hash of one voice never reaches a quorum.
- It recovers when its term is over and it agrees with the quorum again. Once the term is over a liar's voice
  counts again too, or else two honest nodes of three could wait forever for the third.
- A node that lags or fails repeatedly is read from only when no better one has what is asked for. Its voice
  counts where it gives one. It is relied on again when it has caught up, or has answered as often as it
  failed.
"""

from dataclasses import dataclass
from enum import StrEnum

from cryptowatch.chains.agreement import BlockPoint
from cryptowatch.chains.port import NodeState, NodeStatus

#: So many failed requests more than answered ones make a node unreachable, until as many are answered.
FAILURES_MAX = 3
#: So many contradictions in a row mean another branch: one is what a block in flight looks like.
CONTRADICTIONS_MAX = 3
_TERM_FACTOR_MAX = 16
#: Weight of the newest answer in the mean latency.
_LATENCY_WEIGHT = 0.2


class ChangeKind(StrEnum):
    """Names the events `node.quarantined` and `node.recovered`."""

    QUARANTINED = "quarantined"
    RECOVERED = "recovered"


@dataclass(frozen=True, slots=True)
class NodeChange:
    """A node was put aside, or is relied on again: one event each, in turns."""

    node: str
    kind: ChangeKind
    state: NodeState
    reason: str


class Standing:
    """One node's record. Every `note_*` may end in a change, which `take_change` gives out once."""

    def __init__(self, node: str, *, lag_blocks_max: int, quarantine_s: float) -> None:
        self.node = node
        self.head: BlockPoint | None = None
        self.latency_s: float | None = None
        self._lag_blocks_max = lag_blocks_max
        self._quarantine_s = quarantine_s
        self._lag_blocks: int | None = None
        self._failures = 0
        self._failure: str | None = None
        self._unreachable = False
        self._lies = 0
        self._lied = False
        self._contradictions = {True: 0, False: 0}
        self._quarantine: str | None = None
        self._until_s = 0.0
        self._reported: ChangeKind = ChangeKind.RECOVERED
        self._changes: list[NodeChange] = []

    @property
    def state(self) -> NodeState:
        if self._quarantine is not None:
            return NodeState.QUARANTINED
        if self._unreachable:
            return NodeState.UNREACHABLE
        if self._lag_blocks is not None and self._lag_blocks > self._lag_blocks_max:
            return NodeState.LAGGING
        return NodeState.HEALTHY

    @property
    def problem(self) -> str | None:
        """One line on what is wrong, or None. A node that failed once is healthy, but says so."""
        if self._quarantine is not None:
            return self._quarantine
        if self._failure is not None:
            return self._failure
        if self.state is NodeState.LAGGING:
            return f"{self._lag_blocks} blocks behind"
        return None

    def status(self) -> NodeStatus:
        height = self.head.height if self.head is not None else None
        return NodeStatus(self.node, self.state, height, self._lag_blocks, self.latency_s, self.problem)

    def has_voice(self, now_s: float) -> bool:
        """Whether what it reports counts towards a quorum."""
        return not (self._lied and self._quarantine is not None and now_s < self._until_s)

    def note_answer(self, seconds: float) -> None:
        """It answered a request, after so many seconds."""
        previous = self.latency_s if self.latency_s is not None else seconds
        self.latency_s = previous + _LATENCY_WEIGHT * (seconds - previous)
        self._failures = max(0, self._failures - 1)
        if not self._failures:
            self._failure = None
            self._unreachable = False
        self._settle()

    def note_failure(self, problem: str) -> None:
        """It did not answer, answered late or with an internal error."""
        self._failures = min(FAILURES_MAX, self._failures + 1)
        self._failure = problem
        self._unreachable = self._unreachable or self._failures == FAILURES_MAX
        self._settle()

    def note_lie(self, problem: str, now_s: float) -> None:
        """What it answered contradicts the hash that it was asked for."""
        factor: int = min(2**self._lies, _TERM_FACTOR_MAX)
        self._lies += 1
        self._lied = True
        self._quarantine = problem
        self._until_s = now_s + self._quarantine_s * factor
        self._settle()

    def note_head(self, head: BlockPoint, reference_height: int) -> None:
        """Its head in this round, and the height against which lag counts."""
        self.head = head
        self._lag_blocks = max(0, reference_height - head.height)
        self._settle()

    def note_agreement(self, agrees: bool, height: int, now_s: float, *, at_head: bool) -> None:
        """It agreed with, or contradicted, the quorum's hash at the agreed head, or at a height asked for."""
        self._contradictions[at_head] = 0 if agrees else self._contradictions[at_head] + 1
        quarantined, term_over = self._quarantine is not None, now_s >= self._until_s
        if agrees and at_head and quarantined and term_over:
            self._quarantine = None
            self._lied = False
        elif self._contradictions[at_head] >= CONTRADICTIONS_MAX and (not quarantined or term_over):
            self._quarantine = f"on another branch than the quorum at height {height}"
            self._until_s = now_s + self._quarantine_s
        self._settle()

    def changes(self) -> list[NodeChange]:
        """What was not told yet (`told`), in turns; of more than two the last, which tells as much."""
        return list(self._changes)

    def told(self, change: NodeChange) -> None:
        """It is kept elsewhere by now."""
        self._changes = [waiting for waiting in self._changes if waiting is not change]

    def _settle(self) -> None:
        state = self.state
        kind = ChangeKind.RECOVERED if state is NodeState.HEALTHY else ChangeKind.QUARANTINED
        if kind is not self._reported:
            self._reported = kind
            reason = self.problem or "agrees with the quorum again"
            waiting = self._changes if len(self._changes) < 2 else []
            self._changes = [*waiting, NodeChange(self.node, kind, state, reason)]
