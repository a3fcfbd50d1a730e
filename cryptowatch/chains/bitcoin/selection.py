"""Which coins pay a batch: few when fees are high, small ones when they are low, no change if possible.

Called by the Bitcoin planner. Pure: time plays no part and randomness comes in. Serves P1 (inputs = payments
+ change + fee, exactly) and P10 (bounded tries, inputs and weight).

Three strategies make proposals and the least wasteful one wins, as in Bitcoin Core's
wallet/coinselection.cpp: branch and bound (no change), single random draw, and, above three times the
long-term rate, the lightest set. Waste is what the inputs cost more now than at the long-term rate, plus the
cost of change or else the excess given to the miner. The lightest set is not used at ordinary rates: always
taking the largest coins leaves a dust heap to be paid for later (Bitcoin Core's PR 27877). Should coins
suffice only just, it is tried last without room for change.

Give only coins that may be used now; to prefer confirmed ones, offer those first and all of them if they do
not do.
"""

import heapq
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cryptowatch.chains.bitcoin.sizes import (
    STANDARD_WEIGHT_MAX,
    dust_limit,
    fee_of,
    frame_weight,
    input_weight,
    marginal_fee,
    output_weight,
)
from cryptowatch.chains.plans import Coin, Insufficient, Recipient
from cryptowatch.money import BaseUnits

#: wallet/coinselection.cpp: TOTAL_TRIES; wallet/coinselection.h: CHANGE_LOWER, CHANGE_UPPER.
TRIES_MAX = 100_000
#: Tries left once a set without change was found: seldom is there a much better one.
_TRIES_TO_IMPROVE = 10_000
CHANGE_LOWER = 50_000
CHANGE_UPPER = 1_000_000
#: Above this multiple of the long-term rate the lightest set takes part.
HIGH_RATE_FACTOR = 3

_Sats = NDArray[np.int64]


class Randomness(Protocol):
    """What is used of `random.Random`."""

    def randrange(self, start: int, stop: int, /) -> int: ...


@dataclass(frozen=True, slots=True)
class Terms:
    """What a selection keeps to. Rates in satoshi per 1000 vB."""

    fee_rate: int
    #: What spending a coin costs at quiet times: above it inputs are spared, below it small coins are tidied
    #: up.
    long_term_fee_rate: int
    change_script: bytes
    inputs_max: int = 400
    weight_max: int = STANDARD_WEIGHT_MAX


@dataclass(frozen=True, slots=True)
class Selection:
    """Coins to spend, required ones first. inputs = payments + change + fee, exactly."""

    inputs: tuple[Coin, ...]
    #: Satoshi back to us; 0 means that there is no change output.
    change: BaseUnits
    fee: int
    #: Heaviest that the signed transaction can be.
    weight: int
    #: Which strategy won: for metrics and curious people.
    strategy: str


def select_coins(
    coins: Sequence[Coin],
    recipients: Sequence[Recipient],
    terms: Terms,
    randomness: Randomness,
    required: Sequence[Coin] = (),
) -> Selection | Insufficient:
    """Choose among the coins, always with all `required` ones (a bump's inputs). About 20 to 50 ms for 20,000
    coins.

    A coin that costs more to spend than it is worth is never chosen. When the required ones suffice, nothing
    is added.
    """
    task = _Task(coins, recipients, terms, required)
    if task.payment_target <= 0:
        return task.selection([], "required")
    # Of equally wasteful ones the first wins.
    proposals: list[tuple[str, list[int] | None]] = [("no change", _branch_and_bound(task))]
    if terms.fee_rate > HIGH_RATE_FACTOR * terms.long_term_fee_rate:
        proposals.append(("lightest", _lightest(task, task.change_target(randomness))))
    proposals.append(("random draw", _random_draw(task, task.change_target(randomness), randomness)))
    found = [task.selection(chosen, strategy) for strategy, chosen in proposals if chosen is not None]
    found = [selection for selection in found if selection.weight <= terms.weight_max]
    if found:
        return min(found, key=task.waste)
    for target in (task.payment_target + task.change_fee + task.change_min, task.payment_target):
        chosen = _lightest(task, target)
        if chosen is not None:
            return task.selection(chosen, "lightest")
    return Insufficient(task.missing())


class _Task:
    """One selection's numbers: coins as arrays, largest effective value first, and targets less the required
    coins.

    A coin's effective value is its amount less the fee for spending it, so that a sum over coins can be
    compared with the payments and the fee of everything but these coins.
    """

    def __init__(
        self,
        coins: Sequence[Coin],
        recipients: Sequence[Recipient],
        terms: Terms,
        required: Sequence[Coin],
    ) -> None:
        self.terms = terms
        self._required = required
        self._payments = sum(recipient.amount for recipient in recipients)
        self._output_weight = sum(output_weight(recipient.destination) for recipient in recipients)
        self._recipients = len(recipients)
        taken = {coin.resource for coin in required}
        self._coins = [coin for coin in coins if coin.resource not in taken] if taken else coins
        amounts = np.fromiter((coin.amount for coin in self._coins), np.int64, len(self._coins))
        # One script stands for all that begin alike.
        kinds = {coin.destination[:2]: coin.destination for coin in self._coins}
        weight_of = {start: input_weight(script) for start, script in kinds.items()}
        weights = np.fromiter(
            (weight_of[coin.destination[:2]] for coin in self._coins), np.int64, len(self._coins)
        )
        effective = amounts - _fees(weights, terms.fee_rate)
        self._order = np.argsort(-effective, kind="stable")[: int(np.count_nonzero(effective > 0))]
        self.values: _Sats = effective[self._order]
        self.weights: _Sats = weights[self._order]

        self.count_max = max(0, terms.inputs_max - len(required))
        required_weight = sum(input_weight(coin.destination) for coin in required)
        fixed = frame_weight(terms.inputs_max, len(recipients) + 1) + self._output_weight + required_weight
        #: Room for inputs, change included.
        self.weight_max = max(0, terms.weight_max - fixed - output_weight(terms.change_script))
        # Three weight units more, for the last virtual byte is paid in full.
        self.payment_target = (
            self._payments + marginal_fee(fixed + 3, terms.fee_rate) - sum(coin.amount for coin in required)
        )
        self.change_fee = marginal_fee(output_weight(terms.change_script), terms.fee_rate)
        spend_fee = marginal_fee(input_weight(terms.change_script), terms.long_term_fee_rate)
        #: Below it change is not worth having.
        self.change_min = dust_limit(terms.change_script) + spend_fee
        self.change_cost = self.change_fee + spend_fee

    def change_target(self, randomness: Randomness) -> int:
        """What a set with change must reach: room for a change of random size (GenerateChangeTarget)."""
        average = self._payments // max(1, self._recipients)
        upper = max(CHANGE_LOWER + 1, min(2 * average, CHANGE_UPPER))
        change = max(self.change_min, randomness.randrange(CHANGE_LOWER, upper))
        return self.payment_target + self.change_fee + change

    def selection(self, chosen: Sequence[int], strategy: str) -> Selection:
        """The chosen places (in the order of `values`) as a transaction's numbers, to the satoshi."""
        inputs = (*self._required, *(self._coins[int(self._order[place])] for place in chosen))
        surplus = sum(coin.amount for coin in inputs) - self._payments
        weight = self._output_weight + sum(input_weight(coin.destination) for coin in inputs)
        with_change = (
            weight + output_weight(self.terms.change_script) + frame_weight(len(inputs), self._recipients + 1)
        )
        change = surplus - fee_of(with_change, self.terms.fee_rate)
        if change >= self.change_min:
            return Selection(inputs, BaseUnits(change), surplus - change, with_change, strategy)
        return Selection(
            inputs, BaseUnits(0), surplus, weight + frame_weight(len(inputs), self._recipients), strategy
        )

    def waste(self, selection: Selection) -> int:
        """Satoshi: the smaller the better, and negative where coins are tidied up at a low rate."""
        rate, long_term_rate = self.terms.fee_rate, self.terms.long_term_fee_rate
        inputs = sum(
            marginal_fee(weight, rate) - marginal_fee(weight, long_term_rate)
            for weight in (input_weight(coin.destination) for coin in selection.inputs)
        )
        excess = selection.fee - fee_of(selection.weight, rate)
        return inputs + (self.change_cost if selection.change else 0) + excess

    def missing(self) -> int:
        """Satoshi by which the most valuable permitted coins fall short; at least 1."""
        most = min(self.count_max, self.weight_max // int(self.weights.min())) if len(self.weights) else 0
        return max(1, self.payment_target - int(self.values[:most].sum()))


def _branch_and_bound(task: _Task) -> list[int] | None:
    """A set that needs no change: within the cost of change above the target; the least wasteful one found.

    Depth first through the coins from large to small. Coins too large for what remains are jumped over at
    once, and a branch ends when all further coins together cannot reach the target, or when it is as wasteful
    as the best one.
    """
    # One more of no value, so that the place after the last coin needs no care: it is never enough.
    values: list[int] = [*task.values.tolist(), 0]
    ascending: list[int] = (-task.values).tolist()
    fees_now = _fees(task.weights, task.terms.fee_rate)
    wastes: list[int] = (fees_now - _fees(task.weights, task.terms.long_term_fee_rate)).tolist()
    remaining_sums: list[int] = [*np.cumsum(task.values[::-1])[::-1].tolist(), 0]
    weights: list[int] = [*task.weights.tolist(), 0]
    spare_inputs = task.terms.fee_rate > task.terms.long_term_fee_rate
    count, window, weight_left = len(task.values), task.change_cost, task.weight_max
    missing, waste, place = task.payment_target, 0, 0
    chosen: list[int] = []
    best: list[int] | None = None
    best_waste = tries = 0
    tries_max = TRIES_MAX
    while tries < tries_max:
        tries += 1
        if values[place] > missing + window:
            place = bisect_left(ascending, -(missing + window), place, count)
        pruned = spare_inputs and best is not None and waste >= best_waste
        if (
            not pruned
            and remaining_sums[place] >= missing
            and weights[place] <= weight_left
            and len(chosen) < task.count_max
        ):
            chosen.append(place)
            missing -= values[place]
            waste += wastes[place]
            weight_left -= weights[place]
            place += 1
            if missing > 0:
                continue
            if best is None or waste - missing < best_waste:
                best, best_waste = chosen.copy(), waste - missing
                tries_max = min(TRIES_MAX, tries + _TRIES_TO_IMPROVE)
        if not chosen:
            break
        place = chosen.pop()
        missing += values[place]
        waste -= wastes[place]
        weight_left += weights[place]
        # A coin of the same value and weight in its stead would only repeat the branch.
        value, weight = values[place], weights[place]
        place += 1
        while place < count and values[place] == value and weights[place] == weight:
            place += 1
    return best


def _random_draw(task: _Task, target: int, randomness: Randomness) -> list[int] | None:
    """Coins at random until the target is reached; beyond the bounds the smallest drawn ones make room."""
    values, weights, count = task.values, task.weights, len(task.values)
    if values.sum() < target:
        return None
    moved: dict[int, int] = {}
    drawn: list[tuple[int, int]] = []
    value = weight = 0
    for turn in range(count):
        # A shuffle that goes only as far as it is needed.
        other = randomness.randrange(turn, count)
        place = moved.get(other, other)
        moved[other] = moved.get(turn, turn)
        heapq.heappush(drawn, (int(values[place]), place))
        value += int(values[place])
        weight += int(weights[place])
        while weight > task.weight_max or len(drawn) > task.count_max:
            smallest, dropped = heapq.heappop(drawn)
            value -= smallest
            weight -= int(weights[dropped])
        if value >= target:
            return [place for _, place in drawn]
    return None


def _lightest(task: _Task, target: int) -> list[int] | None:
    """The set of least weight that reaches the target; of the smallest such coin in each weight class, not
    the largest.

    We own two kinds of coins, so every mixture is tried: the largest n of one kind with the fewest of the
    other.
    """
    kinds = [np.flatnonzero(task.weights == weight) for weight in np.unique(task.weights)]
    kinds += [np.empty(0, dtype=np.int64)] * (2 - len(kinds))
    first, second = (kind[: task.count_max] for kind in kinds)
    sums = np.concatenate(([0], np.cumsum(task.values[first])))
    other_sums = np.concatenate(([0], np.cumsum(task.values[second])))
    needed = np.searchsorted(other_sums, target - sums)
    firsts = np.arange(len(sums))
    heaviness = firsts * (int(task.weights[first[0]]) if len(first) else 0)
    heaviness = heaviness + needed * (int(task.weights[second[0]]) if len(second) else 0)
    possible = (
        (needed < len(other_sums)) & (firsts + needed <= task.count_max) & (heaviness <= task.weight_max)
    )
    if not possible.any():
        return None
    most = int(np.argmin(np.where(possible, heaviness, np.iinfo(np.int64).max)))
    spare = int(sums[most] + other_sums[needed[most]]) - target
    chosen: list[int] = []
    for places, taken in ((kinds[0], most), (kinds[1], int(needed[most]))):
        kept = places[:taken].tolist()
        if kept:
            # The last one may be larger than it need be.
            least = int(task.values[kept[-1]]) - spare
            smaller = int(np.searchsorted(-task.values[places], -least, side="right")) - 1
            spare -= int(task.values[kept[-1]] - task.values[places[smaller]])
            kept[-1] = int(places[smaller])
        chosen += kept
    return chosen


def _fees(weights: _Sats, fee_rate: int) -> _Sats:
    """`sizes.marginal_fee` of each."""
    return -(-weights * fee_rate // 4000)
