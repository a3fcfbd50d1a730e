"""What a chain must hold, given the books, and what a difference means. Pure; called by `reconcile`.

    holdings expected = ledger holdings + deposits in blocks that are not credited yet
                        - payouts in blocks that are not settled yet - their network fees not booked yet

All of these change together in one database transaction each time, so they agree in every snapshot, to the base unit.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Position:
    """One asset on one chain, in base units, all of one snapshot."""

    chain: str
    asset: str
    #: The block up to which the chain is applied, and the last one that nodes call final, where that is up to them.
    height: int
    tagged_final_height: int | None
    #: Confirmed coins of ours, hot and cold, that nobody used, as the blocks that the quorum agreed on say.
    on_chain: int
    #: What nodes say that accounts hold less, and more, than the movements in blocks add up to.
    unseen_losses: int
    unseen_gains: int
    #: Minus the balances of what is hot, cold, and on its way between the two.
    ledger_holdings: int
    #: Deposits in blocks that are confirming or quarantined.
    uncredited: int
    #: Payouts in blocks whose withdrawals are not settled.
    unsettled: int
    #: Network fees of our transactions in blocks that are not final.
    unbooked_fees: int
    #: What the house owes its players.
    liabilities: int
    #: Withdrawals on their way, settled by nothing yet; for people to see.
    in_flight: int = 0
    #: How often a finding was booked: whoever books the next one must have seen the same.
    bookings: int = 0
    #: Of what was told last: whoever tells the next must have seen the same.
    version: int = 0

    @property
    def expected(self) -> int:
        return self.ledger_holdings + self.uncredited - self.unsettled - self.unbooked_fees

    @property
    def difference(self) -> int:
        """Below zero: money is missing. Above: money came that nobody was given an address for.

        An account's gain does not make up for another one's loss.
        """
        return self.on_chain - self.unseen_losses - self.expected

    def final_height(self, finality: int) -> int:
        """Up to here nothing is undone any more; `finality`: the depth of the chain's last tier."""
        by_depth = self.height - finality + 1
        return by_depth if self.tagged_final_height is None else min(by_depth, self.tagged_final_height)


@dataclass(frozen=True, slots=True)
class Surplus:
    """The least that was there too much, in every look since a height."""

    amount: int
    height: int


def watch_surplus(before: Surplus | None, position: Position, finality: int) -> tuple[Surplus | None, int]:
    """(what is to be watched on, what the house may call its own now).

    Money that nobody sent to a player is the house's: what the operator puts into the wallet, or a gift. It is booked
    once the block that it came in is final: otherwise it would hide as much of a loss.
    """
    if position.difference <= 0:
        return None, 0
    if before is None or position.height < before.height:
        return Surplus(position.difference, position.height), 0
    least = min(before.amount, position.difference)
    if before.height <= position.final_height(finality):
        return None, least
    return Surplus(least, before.height), 0
