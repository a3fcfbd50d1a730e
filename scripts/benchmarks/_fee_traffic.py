"""A day and a half of simulated payments as real transactions: who pays how much when, for `fees`. Seeded.

Nothing here knows of any estimator of ours. Demand swings with the hour, comes in waves (an autocorrelated factor) and
bursts (twelve times in the run up to a block's worth within a minute, as when an exchange pays out), and once there
is a spike: three hours of double demand from people to whom it is worth five times as much. Everybody has a limit, a
rate beyond which the payment is not worth it (log-normal, median 15 sat/vB, sigma 1): who finds the market at twice his
limit stays away. Four in five look at the market, as wallets do, and offer about a quarter more than the lowest of the
last three blocks, spread log-normally (sigma 0.35: by weight the 90th percentile of a block is then some 2.5 times the
10th, as on mainnet at busy times), up to their limit; one in five offers what he always does, around 5 sat/vB (sigma
0.9). Half of all round to whole satoshi. Some spend what is unconfirmed, and a few of these pay for their parents.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from cryptowatch.chains.bitcoin.transaction import TxInput, TxOutput, UnsignedTransaction, serialise
from cryptowatch.money import BaseUnits

#: Anyone can spend it, by revealing this script: real, relayed transactions without the time for signatures.
SCRIPT = b"\x51"
LOCK = b"\x00\x20" + sha256(SCRIPT).digest()
_SMALL_SAT, _COIN_LEAST_SAT = 1_000, 300_000
#: Mean demand over what blocks have room for, outside waves, bursts and the spike.
_LOAD = 0.75
_SPIKE_HOURS = (18.0, 21.0)
_BURSTS, _BURST_BLOCKS = 12, 1
#: Outputs -> percent: 250 virtual bytes on average.
_OUTPUTS = {1: 20, 2: 50, 4: 15, 12: 10, 40: 5}


@dataclass(slots=True)
class Payer:
    """Makes transactions from the coins that it is given; those of mined ones come back by `mined`."""

    randomness: random.Random
    block_vb: int
    minutes: int
    coins: list[tuple[bytes, int, int]]
    unconfirmed: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    wave: float = 0.0
    bursts: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        self.bursts = frozenset(self.randomness.sample(range(self.minutes), _BURSTS))

    def minute(self, number: int, lowest_sat_vb: float) -> list[UnsignedTransaction]:
        """What is sent in this minute."""
        self.wave = 0.98 * self.wave + self.randomness.gauss(0, 0.06)
        hour = number / 60
        spike = _SPIKE_HOURS[0] <= hour < _SPIKE_HOURS[1]
        demand = _LOAD * (1 + 0.35 * math.sin(2 * math.pi * hour / 24)) * math.exp(self.wave) * (1 + spike)
        vbytes = self.randomness.expovariate(1 / max(demand * self.block_vb / 10, 1))
        if number in self.bursts:
            vbytes += self.block_vb * _BURST_BLOCKS * self.randomness.random()
        made: list[UnsignedTransaction] = []
        while vbytes > 0 and self.coins:
            (outputs,) = self.randomness.choices([*_OUTPUTS], [*_OUTPUTS.values()])
            vbytes -= size_vb(outputs)
            rate = self._rate(spike, lowest_sat_vb)
            if rate is not None:
                made.append(self._payment(rate, outputs))
        return made

    def mined(self, ids: Sequence[bytes]) -> None:
        for tx_id in ids:
            if tx_id in self.unconfirmed:
                self.coins.append((tx_id, *self.unconfirmed.pop(tx_id)))

    def _rate(self, spike: bool, lowest_sat_vb: float) -> float | None:
        """What is offered, in satoshi per virtual byte; None: not worth it."""
        limit = self.randomness.lognormvariate(math.log(75 if spike else 15), 1)
        if self.randomness.random() < 0.2:
            rate = self.randomness.lognormvariate(math.log(5), 0.9)
        else:
            rate = min(lowest_sat_vb * self.randomness.lognormvariate(math.log(1.25), 0.35), limit)
        if self.randomness.random() < 0.5:
            rate = round(rate)
        return None if limit < lowest_sat_vb / 2 else max(rate, 1.0)

    def _payment(self, rate_sat_vb: float, outputs: int) -> UnsignedTransaction:
        child = self.randomness.random()
        parent = next(iter(self.unconfirmed), None) if child < 0.08 else None
        if parent is None:
            place = self.randomness.randrange(len(self.coins))
            self.coins[place], self.coins[-1] = self.coins[-1], self.coins[place]
            tx_id, index, amount = self.coins.pop()
        else:
            tx_id, (index, amount) = parent, self.unconfirmed.pop(parent)
            # A quarter of them is in a hurry, for the parent as well.
            rate_sat_vb *= 3 if child < 0.02 else 1
        fee = math.ceil(rate_sat_vb * size_vb(outputs))
        rest = amount - fee - _SMALL_SAT * (outputs - 1)
        made = spending(tx_id, index, amount, [rest] + [_SMALL_SAT] * (outputs - 1))
        if rest > _COIN_LEAST_SAT:
            self.unconfirmed[made.txid] = (0, rest)
        return made


def size_vb(outputs: int) -> int:
    """Of a transaction from one open coin: 10 and 41 bytes, and 5 of witness that count a quarter."""
    return 10 + 41 + 2 + 43 * outputs


def spending(tx_id: bytes, index: int, amount: int, amounts: Sequence[int]) -> UnsignedTransaction:
    """From one open coin to others; `raw` completes it."""
    return UnsignedTransaction(
        (TxInput(tx_id, index, BaseUnits(amount), LOCK),),
        tuple(TxOutput(LOCK, BaseUnits(a)) for a in amounts),
    )


def raw(transaction: UnsignedTransaction) -> bytes:
    return serialise(transaction, [(SCRIPT,)])
