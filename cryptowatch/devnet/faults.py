"""What can be made to go wrong with a node, and when: values without I/O.

`control` makes faults from requests, `proxy` asks which are in force. Time comes in as seconds of one clock,
chance as a seeded generator, so that a run can be repeated.

    delay             the answer comes `seconds` later (default 2)
    drop              the connection closes without an answer
    error             an internal error instead of an answer
    error_after_send  a transaction that is sent goes through, and the sender hears of an error (`answer = "error"`)
                      or nothing at all (`answer = "drop"`): its outcome is unknown
    stale_head        the node stays at the head it had when the fault was set
    forged_block      the node tells of other blocks above `height` (default: its head when the fault was set).
                      `variant = "chain"`: they have their own hashes, and each is consistent in itself.
                      `variant = "body"`: the right hashes, but contents that do not fit them.
                      With `address` they pay `amount` to it, out of nothing; on Ethereum, of `asset`.

Of Ethereum nodes only:

    hidden_logs       no receipt has a log, and no search for logs finds one; with `variant = "bloom_emptied"` the
                      blooms agree with that
    hidden_traces     traces do not show what happened inside a transaction
    stale_finalized   the finalized block stays the one it was when the fault was set
    jumping_finalized the newest block is called finalized

For all but `delay`, `seconds` is how long the fault lasts; `lasts_s` says it for every kind. Without either
it lasts until all faults are removed. `methods` limits it to these calls (a REST call counts as `rest`).
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "delay",
    "drop",
    "error",
    "error_after_send",
    "stale_head",
    "forged_block",
    "hidden_logs",
    "hidden_traces",
    "stale_finalized",
    "jumping_finalized",
]
Variant = Literal["chain", "body", "bloom_emptied"]
ETHEREUM_KINDS = frozenset({"hidden_logs", "hidden_traces", "stale_finalized", "jumping_finalized"})
SEND_METHODS = frozenset({"sendrawtransaction", "submitpackage", "eth_sendRawTransaction"})
DELAY_DEFAULT_S = 2.0


@dataclass(frozen=True)
class Fault:
    kind: Kind
    seconds: float | None = None
    lasts_s: float | None = None
    probability: float = 1.0
    methods: tuple[str, ...] = ()
    answer: Literal["error", "drop"] = "error"
    variant: Variant = "chain"
    height: int | None = None
    address: str | None = None
    amount: str = "1"
    asset: str | None = None

    @property
    def delay_s(self) -> float:
        return DELAY_DEFAULT_S if self.seconds is None else self.seconds

    def ends_at_s(self, now_s: float) -> float:
        lasts_s = self.lasts_s if self.lasts_s is not None or self.kind == "delay" else self.seconds
        return float("inf") if lasts_s is None else now_s + lasts_s

    def concerns(self, methods: Sequence[str]) -> bool:
        if self.kind == "error_after_send" and not SEND_METHODS.intersection(methods):
            return False
        return not self.methods or bool(set(self.methods).intersection(methods))

    def strikes(self, methods: Sequence[str], randomness: random.Random) -> bool:
        """Whether this request is hit: draws from `randomness` only when chance decides."""
        return self.concerns(methods) and (self.probability >= 1 or randomness.random() < self.probability)
