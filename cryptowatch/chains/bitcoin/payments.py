"""Plans of Bitcoin transactions: who is paid, from which coins, with what change; and their replacements.

Implements `plans.CoinPlanner` for `sending`. Pure and CPU-bound: called in a thread. Keeps P3 (a replacement keeps
every input) and P4 (a plan fixes the transaction's id before it is signed). Fee rates are satoshi per 1000 vB.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

import msgspec

from cryptowatch.chains.bitcoin.selection import Selection, Terms, select_coins
from cryptowatch.chains.bitcoin.sizes import INPUT_WEIGHT_MAX, marginal_fee, vsize_of
from cryptowatch.chains.bitcoin.transaction import TxInput, TxOutput, UnsignedTransaction, from_json, to_json
from cryptowatch.chains.plans import Bid, Coin, Insufficient, Plan, Recipient
from cryptowatch.money import BaseUnits

#: BIP125 rule 4, at the largest increment that nodes use by default.
_INCREMENT_SAT_KVB = 1000

KeyPath = tuple[int, int, int]


class _PlanJson(msgspec.Struct, frozen=True):
    transaction: dict[str, object]
    input_paths: list[KeyPath]
    positions: list[int]
    change_script: str
    change_path: KeyPath
    change_position: int | None
    vsize: int
    cold_indexes: dict[int, int] = {}


@dataclass(frozen=True, slots=True)
class BitcoinPlan:
    """An unsigned transaction with the keys of its inputs and of its change. `size`: virtual bytes at most."""

    transaction: UnsignedTransaction
    input_paths: tuple[KeyPath, ...]
    positions: tuple[int, ...]
    #: Where change goes, whether or not there is any.
    change_script: bytes
    change_path: KeyPath
    change_position: int | None
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
    def fee(self) -> int:
        return self.transaction.fee

    def to_json(self) -> bytes:
        return msgspec.json.encode(
            _PlanJson(
                to_json(self.transaction),
                list(self.input_paths),
                list(self.positions),
                self.change_script.hex(),
                self.change_path,
                self.change_position,
                self.size,
                dict(self.cold_indexes),
            )
        )


@dataclass(frozen=True, slots=True)
class BitcoinPlanner:
    """`long_term_fee_rate`: what spending a coin costs at quiet times; what coin selection weighs against."""

    long_term_fee_rate: int
    inputs_max: int = 400

    def plan(
        self,
        coins: Sequence[Coin],
        recipients: Sequence[Recipient],
        change: Coin,
        bid: Bid,
        seed: int,
    ) -> BitcoinPlan | Insufficient:
        """A batch's first transaction. `seed` decides what may be arbitrary, such as where the change stands."""
        randomness = Random(seed)  # noqa: S311 - for privacy of change only, the caller's seed is from the system
        selection = select_coins(coins, recipients, self._terms(change.destination, bid.rate), randomness)
        if isinstance(selection, Insufficient):
            return selection
        return _build(selection, recipients, change.destination, change.key_path, randomness.randrange(2**32))

    def consolidate(self, coins: Sequence[Coin], change: Coin, bid: Bid) -> BitcoinPlan | Insufficient:
        terms = self._terms(change.destination, bid.rate)
        selection = select_coins((), (), terms, Random(0), required=coins)  # noqa: S311 - nothing is left to chance
        if isinstance(selection, Insufficient):
            return selection
        if not selection.change:
            return Insufficient(1)
        return _build(selection, (), change.destination, change.key_path, 0)

    def worth_spending(self, bid: Bid) -> int:
        """Four times what its input costs: merging it twice still leaves half."""
        return 4 * marginal_fee(INPUT_WEIGHT_MAX, bid.rate)

    def bump(self, plan: Plan, bid: Bid) -> BitcoinPlan | Insufficient:
        """The same payments and the same inputs for at least the rate, and enough for nodes to relay it."""
        assert isinstance(plan, BitcoinPlan)
        fee_rate = bid.rate
        required = [
            Coin(coin.outpoint, coin.amount, coin.script, path)
            for coin, path in zip(plan.transaction.inputs, plan.input_paths, strict=True)
        ]
        outputs = plan.transaction.outputs
        recipients = [
            Recipient(outputs[place].script, outputs[place].amount, plan.cold_indexes.get(place))
            for place in plan.positions
        ]
        place = int.from_bytes(plan.tx_hash[:4], "big")
        missing = 1
        for _ in range(3):
            selection = select_coins(
                (),
                recipients,
                self._terms(plan.change_script, fee_rate),
                Random(place),  # noqa: S311
                required=required,
            )
            if isinstance(selection, Insufficient):
                return selection
            vsize = vsize_of(selection.weight)
            least = plan.fee + -(-vsize * _INCREMENT_SAT_KVB // 1000)
            if selection.fee >= least:
                return _build(selection, recipients, plan.change_script, plan.change_path, place)
            # Without change the transaction is smaller: the rate must make up for it.
            missing = least - selection.fee
            fee_rate = max(fee_rate, -(-least * 1000 // vsize)) + _INCREMENT_SAT_KVB
        return Insufficient(missing)

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
            bytes.fromhex(plan.change_script),
            plan.change_path,
            plan.change_position,
            plan.vsize,
            plan.cold_indexes,
        )

    def _terms(self, change_script: bytes, fee_rate: int) -> Terms:
        return Terms(fee_rate, self.long_term_fee_rate, change_script, inputs_max=self.inputs_max)


def _build(
    selection: Selection,
    recipients: Sequence[Recipient],
    change_script: bytes,
    change_path: KeyPath,
    place: int,
) -> BitcoinPlan:
    """`place` modulo the outputs is where the change stands: an observer learns nothing from its position."""
    inputs = tuple(
        TxInput(coin.resource[:32], int.from_bytes(coin.resource[32:], "big"), coin.amount, coin.destination)
        for coin in selection.inputs
    )
    outputs = [TxOutput(recipient.destination, recipient.amount) for recipient in recipients]
    change_position = place % (len(outputs) + 1) if selection.change else None
    if change_position is not None:
        outputs.insert(change_position, TxOutput(change_script, BaseUnits(selection.change)))
    positions = tuple(n for n in range(len(outputs)) if n != change_position)
    transaction = UnsignedTransaction(inputs, tuple(outputs))
    assert transaction.fee == selection.fee, "inputs = payments + change + fee"
    return BitcoinPlan(
        transaction,
        tuple(coin.key_path for coin in selection.inputs),
        positions,
        change_script,
        change_path,
        change_position,
        vsize_of(selection.weight),
        {
            place: recipient.cold_index
            for place, recipient in zip(positions, recipients, strict=True)
            if recipient.cold_index is not None
        },
    )
