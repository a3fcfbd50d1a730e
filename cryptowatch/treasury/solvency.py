"""What a chain must hold, given the books. Pure; called by `reconcile`.

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
    #: Confirmed coins of ours, hot and cold, that nobody used, as the blocks that the quorum agreed on say.
    on_chain: int
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

    @property
    def expected(self) -> int:
        return self.ledger_holdings + self.uncredited - self.unsettled - self.unbooked_fees

    @property
    def difference(self) -> int:
        """Below zero: money is missing. Above: money came that nobody was given an address for."""
        return self.on_chain - self.expected
