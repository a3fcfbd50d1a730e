"""Plans of Bitcoin transactions: who is paid, from which coins, with what change; and their replacements.

Implements `plans.CoinPlanner` for `sending`. Pure and CPU-bound: called in a thread. Keeps P3 (a replacement keeps
every input) and P4 (a plan fixes the transaction's id before it is signed). Fee rates are satoshi per 1000 vB.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

import msgspec

from cryptowatch.chains.bitcoin.selection import Selection, Terms, select_coins
from cryptowatch.chains.bitcoin.sizes import (
    INPUT_WEIGHT_MAX,
    STANDARD_WEIGHT_MAX,
    dust_limit,
    fee_of,
    frame_weight,
    input_weight,
    marginal_fee,
    output_weight,
    vsize_of,
)
from cryptowatch.chains.bitcoin.transaction import TxInput, TxOutput, UnsignedTransaction, from_json, to_json
from cryptowatch.chains.plans import Bid, Coin, Insufficient, Plan, Reach, Recipient
from cryptowatch.money import BaseUnits

#: BIP125 rule 4, at the largest increment that nodes use by default.
_INCREMENT_SAT_KVB = 1000

#: Of a P2WPKH output, the smaller of our two kinds.
_CHANGE_WEIGHT = output_weight(bytes(22))

KeyPath = tuple[int, int, int]


class Change(NamedTuple):
    """A key of ours for what is left over, and the output that pays it; None where nothing is left for it."""

    script: bytes
    path: KeyPath
    position: int | None


class _ChangeJson(msgspec.Struct, frozen=True):
    script: str
    path: KeyPath
    position: int | None


class _PlanJson(msgspec.Struct, frozen=True):
    transaction: dict[str, object]
    input_paths: list[KeyPath]
    positions: list[int]
    change: list[_ChangeJson]
    vsize: int
    cold_indexes: dict[int, int] = {}


@dataclass(frozen=True, slots=True)
class BitcoinPlan:
    """An unsigned transaction with the keys of its inputs and of its change. `size`: virtual bytes at most."""

    transaction: UnsignedTransaction
    input_paths: tuple[KeyPath, ...]
    positions: tuple[int, ...]
    #: Where change can go, whether or not there is any; a replacement uses no other keys.
    change: tuple[Change, ...]
    size: int
    #: Output -> which of the cold wallet's addresses it pays.
    cold_indexes: Mapping[int, int] = field(default_factory=dict)

    @property
    def tx_hash(self) -> bytes:
        return self.transaction.txid

    @property
    def resources(self) -> tuple[bytes, ...]:
        return tuple(coin.outpoint for coin in self.transaction.inputs)

    @property
    def change_positions(self) -> tuple[int, ...]:
        """The outputs that return to the wallet."""
        return tuple(one.position for one in self.change if one.position is not None)

    @property
    def coins_back(self) -> Sequence[Coin]:
        return [
            Coin(
                self.tx_hash + one.position.to_bytes(4, "big"),
                self.transaction.outputs[one.position].amount,
                one.script,
                one.path,
            )
            for one in self.change
            if one.position is not None
        ]

    @property
    def fee(self) -> int:
        return self.transaction.fee

    def to_json(self) -> bytes:
        return msgspec.json.encode(
            _PlanJson(
                to_json(self.transaction),
                list(self.input_paths),
                list(self.positions),
                [_ChangeJson(one.script.hex(), one.path, one.position) for one in self.change],
                self.size,
                dict(self.cold_indexes),
            )
        )


@dataclass(frozen=True, slots=True)
class BitcoinPlanner:
    """`long_term_fee_rate`: what spending a coin costs at quiet times; what coin selection weighs against.

    `change_min`: satoshi below which change is not split further.
    """

    long_term_fee_rate: int
    inputs_max: int = 400
    change_min: int = 100_000

    def plan(
        self,
        coins: Sequence[Coin],
        recipients: Sequence[Recipient],
        change: Sequence[Coin],
        bid: Bid,
        seed: int,
    ) -> BitcoinPlan | Insufficient:
        """A batch's first transaction. `seed` decides what may be arbitrary, such as where the change stands."""
        randomness = Random(seed)  # noqa: S311 - for privacy of change only, the caller's seed is from the system
        selection = select_coins(coins, recipients, self._terms(change[0].destination, bid.rate), randomness)
        if isinstance(selection, Insufficient):
            return selection
        keys = [(one.destination, one.key_path) for one in change]
        return _build(
            self._split(selection, len(recipients), keys, bid.rate, randomness), recipients, randomness
        )

    def consolidate(
        self, coins: Sequence[Coin], change: Coin, bid: Bid, others_fee: int = 0
    ) -> BitcoinPlan | Insufficient:
        nothing = Random(0)  # noqa: S311 - nothing is left to chance
        selection = select_coins((), (), self._terms(change.destination, bid.rate), nothing, required=coins)
        if isinstance(selection, Insufficient):
            return selection
        left = selection.change - others_fee
        if left < self._least(change.destination):
            return Insufficient(self._least(change.destination) - left)
        keys = [(change.destination, change.key_path)]
        vsize = vsize_of(selection.weight)
        return _build(_Draft(selection.inputs, keys, [left], selection.fee + others_fee, vsize), (), nothing)

    def worth_spending(self, bid: Bid) -> int:
        """Four times what its input costs: merging it twice still leaves half."""
        return 4 * marginal_fee(INPUT_WEIGHT_MAX, bid.rate)

    def bump(self, plan: Plan, bid: Bid) -> BitcoinPlan | Insufficient:
        """The same payments and the same inputs for at least the rate, and enough for nodes to relay it."""
        return self.join(plan, bid, ())

    def join(self, plan: Plan, bid: Bid, more: Sequence[Recipient]) -> BitcoinPlan | Insufficient:
        assert isinstance(plan, BitcoinPlan)
        fee_rate, keys = bid.rate, [(one.script, one.path) for one in plan.change]
        required = [
            Coin(coin.outpoint, coin.amount, coin.script, path)
            for coin, path in zip(plan.transaction.inputs, plan.input_paths, strict=True)
        ]
        outputs = plan.transaction.outputs
        recipients = [
            Recipient(outputs[place].script, outputs[place].amount, plan.cold_indexes.get(place))
            for place in plan.positions
        ] + list(more)
        missing = 1
        for _ in range(3):
            randomness = Random(int.from_bytes(plan.tx_hash[:4], "big"))  # noqa: S311 - the same for the same plan
            terms = self._terms(keys[0][0], fee_rate)
            selection = select_coins((), recipients, terms, randomness, required=required)
            if isinstance(selection, Insufficient):
                return selection
            draft = self._split(selection, len(recipients), keys, fee_rate, randomness)
            least = _cover(plan.fee, draft.vsize)
            if draft.fee >= least:
                return _build(draft, recipients, randomness)
            # Without change the transaction is smaller: the rate must make up for it.
            missing = least - draft.fee
            fee_rate = max(fee_rate, -(-least * 1000 // draft.vsize)) + _INCREMENT_SAT_KVB
        return Insufficient(missing)

    def reach(self, plan: Plan) -> Reach:
        assert isinstance(plan, BitcoinPlan)
        back = plan.coins_back
        if not back:
            return Reach(plan.size, plan.fee)
        spared = sum(output_weight(coin.destination) for coin in back[1:])
        together = sum(coin.amount for coin in back) - self._least(back[0].destination)
        return Reach(plan.size - spared // 4, plan.fee + max(0, together))

    def cover(self, plan: Plan, fees: int) -> int:
        return _cover(fees, plan.size)

    def fee_alone(self, recipients: Sequence[Recipient], bid: Bid) -> int:
        outputs = sum(output_weight(recipient.destination) for recipient in recipients)
        weight = frame_weight(1, len(recipients) + 1) + INPUT_WEIGHT_MAX + outputs + _CHANGE_WEIGHT
        return fee_of(weight, bid.rate)

    def minds_empty(self, asset: str) -> bool:
        return False

    def together(self, recipients: Sequence[Recipient], empty: Sequence[bool]) -> Sequence[int]:
        """All of them: each output costs the same wherever it stands, and the inputs' cost is shared."""
        return range(len(recipients))

    def read(self, document: bytes) -> BitcoinPlan:
        """Raises msgspec.DecodeError or InvalidTransaction for what no plan wrote."""
        plan = msgspec.json.decode(document, type=_PlanJson)
        return BitcoinPlan(
            from_json(plan.transaction),
            tuple(plan.input_paths),
            tuple(plan.positions),
            tuple(Change(bytes.fromhex(one.script), one.path, one.position) for one in plan.change),
            plan.vsize,
            plan.cold_indexes,
        )

    def _terms(self, change_script: bytes, fee_rate: int) -> Terms:
        return Terms(fee_rate, self.long_term_fee_rate, change_script, inputs_max=self.inputs_max)

    def _least(self, script: bytes) -> int:
        """Of less, change is not worth having."""
        return dust_limit(script) + marginal_fee(input_weight(script), self.long_term_fee_rate)

    def _split(
        self,
        selection: Selection,
        recipients: int,
        keys: Sequence[tuple[bytes, KeyPath]],
        fee_rate: int,
        randomness: Random,
    ) -> "_Draft":
        """The selection's change over as many keys as it fills with `change_min` each; all are of one kind."""
        script = keys[0][0]
        least = max(self.change_min, self._least(script))
        for count in range(len(keys), 1, -1):
            more_outputs = frame_weight(0, recipients + count) - frame_weight(0, recipients + 1)
            weight = selection.weight + (count - 1) * output_weight(script) + more_outputs
            fee = fee_of(weight, fee_rate)
            change = selection.change + selection.fee - fee
            if change >= count * least and weight <= STANDARD_WEIGHT_MAX:
                parts = _parts(change, count, least, randomness)
                return _Draft(selection.inputs, keys, parts, fee, vsize_of(weight))
        one = [int(selection.change)] if selection.change else []
        return _Draft(selection.inputs, keys, one, selection.fee, vsize_of(selection.weight))


def _cover(fees: int, vsize: int) -> int:
    """BIP125 rules 3 and 4."""
    return fees + -(-vsize * _INCREMENT_SAT_KVB // 1000)


class _Draft(NamedTuple):
    """What a transaction spends, and what of it comes back: an amount for each of the first keys."""

    inputs: Sequence[Coin]
    keys: Sequence[tuple[bytes, KeyPath]]
    change: Sequence[int]
    fee: int
    vsize: int


def _parts(amount: int, count: int, least: int, randomness: Random) -> list[int]:
    """Of different sizes, none below the least, together the amount."""
    rest = amount - count * least
    weights = [randomness.randrange(50, 150) for _ in range(count)]
    parts = [least + rest * weight // sum(weights) for weight in weights]
    parts[0] += amount - sum(parts)
    return parts


def _build(draft: _Draft, recipients: Sequence[Recipient], randomness: Random) -> BitcoinPlan:
    """Change may stand anywhere: an observer learns nothing from its position."""
    inputs = tuple(
        TxInput(coin.resource[:32], int.from_bytes(coin.resource[32:], "big"), coin.amount, coin.destination)
        for coin in draft.inputs
    )
    # Of each output which payment or which part of the change it is: these count from below zero.
    order = list(range(len(recipients)))
    for part in range(len(draft.change)):
        order.insert(randomness.randrange(len(order) + 1), -1 - part)
    place_of = {what: place for place, what in enumerate(order)}
    positions = tuple(place_of[number] for number in range(len(recipients)))
    transaction = UnsignedTransaction(inputs, tuple(_outputs(draft, recipients, order)))
    assert transaction.fee == draft.fee, "inputs = payments + change + fee"
    return BitcoinPlan(
        transaction,
        tuple(coin.key_path for coin in draft.inputs),
        positions,
        tuple(
            Change(script, path, place_of.get(-1 - part)) for part, (script, path) in enumerate(draft.keys)
        ),
        draft.vsize,
        {
            place: recipient.cold_index
            for place, recipient in zip(positions, recipients, strict=True)
            if recipient.cold_index is not None
        },
    )


def _outputs(draft: _Draft, recipients: Sequence[Recipient], order: Iterable[int]) -> Iterable[TxOutput]:
    for what in order:
        if what >= 0:
            yield TxOutput(recipients[what].destination, recipients[what].amount)
        else:
            yield TxOutput(draft.keys[-1 - what][0], BaseUnits(draft.change[-1 - what]))
