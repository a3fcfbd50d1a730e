"""Into how many parts a transaction's change should go, so that payouts find coins before the next block. Pure.

Called by `coins`. A coin that a payout spends comes back as change, but not before a block holds it: a wallet with
fewer coins than payouts leave in a block's time makes players wait for its own change. More coins than that are only
dearer to spend.
"""

from dataclasses import dataclass

#: How many blocks' time says how many payouts leave.
LOOK_BACK_BLOCKS = 6


@dataclass(frozen=True, slots=True)
class ChangeRules:
    """`amount_min`: base units that a coin must have to count. `outputs_max`: parts of one transaction's change."""

    coins_min: int
    coins_max: int
    outputs_max: int
    amount_min: int
    block_interval_s: float


def coins_wanted(payouts: int, rules: ChangeRules) -> int:
    """`payouts`: transactions of the last LOOK_BACK_BLOCKS. Twice their mean, as blocks come at random."""
    mean_twice = -(-2 * payouts // LOOK_BACK_BLOCKS)
    return min(max(mean_twice, rules.coins_min), rules.coins_max)


def change_parts(wanted: int, free: int, coming: int, outputs_left: int, rules: ChangeRules) -> int:
    """At least 1. `free`: coins that could be spent now, of which this transaction takes one; `coming`: change that the
    next blocks bring; `outputs_left`: what the transaction may have beside its payments."""
    missing = wanted - (free - 1) - coming
    return max(1, min(missing, rules.outputs_max, outputs_left))
