"""What in a block is ours: the port's RawBlock for this family. Pure.

Made by `node` from fetched answers; asked by the watcher with its up-to-date watch list. Keeps P5 (everything was
checked against the block's hash, or by traces is in `unproven`) and the identity of P2: (transaction hash, the log's
ordinal among its transaction's, or OWN_COIN_POSITION + the frame's number).

First the block is read as flows, money that goes from one account to another, whoever they are; then the watch list
says which are ours. Without traces the chain's own coin is seen where the block alone proves it: a transaction's own
value, and what our own contracts do. Not seen are gifts from within foreign calls, validators' withdrawals and tips:
they are never credited, and show as a surplus when chain and ledger are compared.
"""

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import NamedTuple

import msgspec

from cryptowatch.chains.ethereum import events
from cryptowatch.chains.ethereum.block import Block, ProvenBlock, Receipt, prove_block
from cryptowatch.chains.ethereum.facts import ChainFacts, Token
from cryptowatch.chains.ethereum.mined import Transaction, quantity
from cryptowatch.chains.ethereum.our_calls import Approve, PayNative, PayTokens, TransferToken, read_call
from cryptowatch.chains.ethereum.traces import Move, Trace, digest, moves_of
from cryptowatch.chains.port import (
    OWN_COIN_POSITION,
    BlockContents,
    BlockRef,
    Execution,
    Interest,
    Movement,
    Spend,
    Transfer,
    content_of,
)
from cryptowatch.money import AMOUNT_MAX, BaseUnits

#: Never an account of ours: no key is known that it belongs to.
NOBODY = bytes(20)


class _Flow(NamedTuple):
    """Money from one account to another, in base units."""

    transaction: int
    #: None: between accounts of ours, nothing that arrives.
    position: int | None
    asset: str
    source: bytes
    destination: bytes
    amount: BaseUnits
    #: Said by the source itself: believed when that is an account of ours, whose code we know.
    by_source: bool = False


class _TokenLog(msgspec.Struct, gc=False):
    """A transfer of a token that is on the list. Nearly all are others', so that no more is read than whose it is."""

    transaction: int
    ordinal: int
    token: Token
    #: Accounts in digits.
    source: str
    destination: str
    data: str

    def flows(self) -> Iterator[_Flow]:
        """One, or none for a transfer of nothing, or of more than any ledger holds: no honest token has so much."""
        amount = self.token.base_units(events.read_number(self.data) or 0)
        if 0 < amount <= AMOUNT_MAX:
            source, destination = bytes.fromhex(self.source), bytes.fromhex(self.destination)
            yield _Flow(self.transaction, self.ordinal, self.token.asset, source, destination, amount)


@dataclass(frozen=True, slots=True)
class EthereumBlock:
    """A whole block, read and proven."""

    proven: ProvenBlock
    facts: ChainFacts
    #: Per transaction; None without traces.
    moves: Sequence[Sequence[Move]] | None
    unproven: bytes

    @classmethod
    def read(
        cls,
        block: Block,
        receipts: Sequence[Receipt],
        traces: Sequence[Trace] | None,
        block_hash: bytes,
        height: int,
        facts: ChainFacts,
    ) -> "EthereumBlock":
        """Raises MalformedData unless the answers are those of the block with this hash."""
        proven = prove_block(block, receipts, block_hash, height)
        if traces is None:
            return cls(proven, facts, None, b"")
        moves = moves_of(proven, traces)
        return cls(proven, facts, moves, digest(proven, moves))

    @property
    def ref(self) -> BlockRef:
        return self.proven.ref

    def contents(self, interest: Interest) -> BlockContents:
        """What in it is ours."""
        transactions = self.proven.transactions
        coins, tokens = [flow for flow in self._own_coin() if flow.amount], self._tokens()
        candidates = {transaction.sender for transaction in transactions}
        candidates.update(account for flow in coins for account in (flow.source, flow.destination))
        candidates.update(_accounts(tokens))
        ours = _watched(interest, candidates)
        digits = {account.hex() for account in ours}
        flows = [flow for flow in coins if not flow.by_source or flow.source in ours]
        for log in tokens:
            if log.source in digits or log.destination in digits:
                flows += log.flows()
        # In the order of the transactions, and within one: its own coin first, each part in its own order.
        flows.sort(key=lambda flow: flow.transaction)
        transfers, resources = self._transfers(flows, ours)
        fees = {n: self._fee(n) for n, transaction in enumerate(transactions) if transaction.sender in ours}
        return BlockContents(
            ref=self.ref,
            transfers=tuple(transfers),
            spends=self._spends(interest, ours),
            resources=resources,
            transactions=len(transactions),
            size_bytes=self.proven.size_bytes,
            movements=tuple(self._movements(flows, fees, ours)),
            executions=tuple(
                Execution(transactions[number].hash, fee, self._outcomes(number))
                for number, fee in fees.items()
            ),
        )

    def _transfers(
        self, flows: Iterable[_Flow], ours: frozenset[bytes]
    ) -> tuple[list[Transfer], dict[bytes, tuple[bytes, ...]]]:
        """(what arrived at us, the nonce that each transaction with such a transfer used)."""
        transfers: list[Transfer] = []
        resources: dict[bytes, tuple[bytes, ...]] = {}
        for flow in flows:
            if flow.destination in ours and flow.position is not None:
                transaction = self.proven.transactions[flow.transaction]
                content = content_of(flow.destination, flow.asset, flow.amount)
                transfers.append(
                    Transfer(
                        transaction.hash,
                        flow.position,
                        flow.destination,
                        flow.asset,
                        flow.amount,
                        content=content,
                    )
                )
                resources[transaction.hash] = (_resource(transaction),)
        return transfers, resources

    def _spends(self, interest: Interest, ours: frozenset[bytes]) -> tuple[Spend, ...]:
        """Nonces used, each once. What authorizations (EIP-7702) would use is taken as used by them: see `mined`.

        Not so where a stranger carries one for our own delegate: we published it with the first sweep, anybody may
        bring it to the chain again, as often as he likes, and it allows nobody anything.
        """
        transactions = self.proven.transactions
        users = {_resource(transaction): transaction.hash for transaction in transactions}
        signed = [
            (given, transaction.hash)
            for transaction in transactions
            for given in transaction.authorizations
            if given.delegate != self.facts.sweep_delegate or transaction.sender in ours
        ]
        authorities = _watched(interest, (given.account for given, _ in signed))
        for given, tx_hash in signed:
            users.setdefault(given.account + given.nonce.to_bytes(8, "big"), tx_hash)
        watched = interest.resources(list(users))
        return tuple(
            Spend(resource, tx_hash)
            for (resource, tx_hash), yes in zip(users.items(), watched, strict=True)
            if yes or resource[:20] in ours or resource[:20] in authorities
        )

    def _movements(
        self, flows: Iterable[_Flow], fees: Mapping[int, BaseUnits], ours: frozenset[bytes]
    ) -> Iterator[Movement]:
        """Per transaction, account and asset the sum of the fee and the flows, as far as the account is ours."""
        deltas: Counter[tuple[int, bytes, str]] = Counter()
        for number, fee in fees.items():
            deltas[number, self.proven.transactions[number].sender, self.facts.asset] -= fee
        for flow in flows:
            if flow.source in ours:
                deltas[flow.transaction, flow.source, flow.asset] -= flow.amount
            if flow.destination in ours:
                deltas[flow.transaction, flow.destination, flow.asset] += flow.amount
        for (transaction, account, asset), delta in sorted(deltas.items()):
            if delta:
                yield Movement(self.proven.transactions[transaction].hash, account, asset, delta)

    def _fee(self, number: int) -> BaseUnits:
        """What the sender paid for gas and blobs, in base units; computed from what is proven.

        But for the price of blobs, which no hash commits to without knowing the fork: it is the node's word, up
        to what the sender allowed. We send no blobs.
        """
        transaction = self.proven.transactions[number]
        fee = self.proven.gas_used(number) * transaction.price(self.proven.base_fee)
        if transaction.blob_gas:
            said = quantity(self.proven.receipts[number].blob_gas_price or "0x0")
            fee += transaction.blob_gas * min(said, transaction.blob_price_max)
        return self.facts.base_units(fee)

    # --- flows ------------------------------------------------------------------------------------------------

    def _tokens(self) -> list[_TokenLog]:
        """Only a transaction that succeeded has logs."""
        listed = {contract.hex(): token for contract, token in self.facts.tokens.items()}
        found = []
        for transaction, receipt in enumerate(self.proven.receipts):
            for ordinal, log in enumerate(receipt.logs):
                token = listed.get(log.address[2:])
                if token is None:
                    continue
                topics = log.topics
                if len(topics) == 3 and topics[0][2:] == events.TRANSFER:
                    accounts = topics[1][26:], topics[2][26:]
                    found.append(_TokenLog(transaction, ordinal, token, *accounts, log.data[2:]))
        return found

    def _own_coin(self) -> Iterator[_Flow]:
        for number, (transaction, receipt) in enumerate(
            zip(self.proven.transactions, self.proven.receipts, strict=True)
        ):
            if self.moves is not None:
                for move in self.moves[number]:
                    position = OWN_COIN_POSITION + move.number
                    yield self._coins(number, position, move.source, move.destination, move.value)
            elif receipt.succeeded and transaction.to is not None:
                yield from self._without_traces(number, transaction, transaction.to, receipt)
            elif receipt.succeeded:
                # What comes with the creation of a contract goes to no account of ours.
                yield self._coins(number, None, transaction.sender, NOBODY, transaction.value)

    def _without_traces(
        self, number: int, transaction: Transaction, to: bytes, receipt: Receipt
    ) -> Iterator[_Flow]:
        """What a transaction that succeeded proves by itself."""
        facts, sender = self.facts, transaction.sender
        yield self._coins(number, OWN_COIN_POSITION, sender, to, transaction.value)
        call = read_call(bytes.fromhex(transaction.input)) if to == facts.payouts else None
        if isinstance(call, PayNative):
            failed = _failed(receipt, to)
            for item, (recipient, value) in enumerate(zip(call.recipients, call.amounts, strict=True)):
                if item in failed:
                    yield self._coins(number, None, to, sender, value)
                else:
                    yield self._coins(number, OWN_COIN_POSITION + 1 + item, to, recipient, value)
        if to == facts.sweeper and facts.sweep_destination is not None:
            for log in receipt.logs:
                if log.topics and log.topics[0][2:] == events.SWEPT:
                    account, value = bytes.fromhex(log.address[2:]), events.read_number(log.data[2:]) or 0
                    yield self._coins(number, None, account, facts.sweep_destination, value, by_source=True)

    def _coins(
        self,
        number: int,
        position: int | None,
        source: bytes,
        destination: bytes,
        wei: int,
        *,
        by_source: bool = False,
    ) -> _Flow:
        amount = self.facts.base_units(wei)
        return _Flow(number, position, self.facts.asset, source, destination, amount, by_source)

    # --- outcomes ---------------------------------------------------------------------------------------------

    def _outcomes(self, number: int) -> tuple[int | None, ...]:
        """Of each payment that a transaction of ours was to make: its position, or None where it failed.

        An allowance is none; where it failed, that shows in the same way.
        """
        transaction, receipt = self.proven.transactions[number], self.proven.receipts[number]
        if not transaction.input:
            if not transaction.value:
                return ()
            return (OWN_COIN_POSITION if receipt.succeeded else None,)
        to, call = transaction.to, read_call(bytes.fromhex(transaction.input))
        match call:
            case PayTokens() | PayNative() if to == self.facts.payouts:
                return self._outcomes_of_batch(call, receipt)
            case TransferToken(recipient) if to is not None and to in self.facts.tokens:
                places = _transfer_logs(receipt, to, transaction.sender).get(recipient)
                return (places[0] if places else None,)
            case Approve() if not receipt.succeeded:
                return (None,)
        return ()

    def _outcomes_of_batch(self, call: PayTokens | PayNative, receipt: Receipt) -> tuple[int | None, ...]:
        """An item that did not fail has the next log from the vault to its recipient, whatever amount that tells.

        A token that keeps a fee logs less than was sent: to call that a failure would be to pay it again (P3).
        """
        if not receipt.succeeded:
            return (None,) * len(call.recipients)
        failed = _failed(receipt, self.facts.payouts)
        if isinstance(call, PayNative):
            return tuple(
                None if item in failed else OWN_COIN_POSITION + 1 + item
                for item in range(len(call.recipients))
            )
        logs = _transfer_logs(receipt, call.token, self.facts.vault)
        nothing: deque[int] = deque()
        outcomes: list[int | None] = []
        for item, recipient in enumerate(call.recipients):
            places = nothing if item in failed else logs.get(recipient, nothing)
            outcomes.append(places.popleft() if places else None)
        return tuple(outcomes)


def _accounts(logs: Sequence[_TokenLog]) -> list[bytes]:
    """Whom the logs name."""
    digits = {log.source for log in logs}
    digits.update([log.destination for log in logs])
    joined = bytes.fromhex("".join(digits))
    return [joined[start : start + 20] for start in range(0, len(joined), 20)]


def _watched(interest: Interest, accounts: Iterable[bytes]) -> frozenset[bytes]:
    """Which of the accounts the watch list knows."""
    candidates = list(accounts)
    return frozenset(compress(candidates, interest.destinations(candidates)))


def _resource(transaction: Transaction) -> bytes:
    return transaction.sender + transaction.nonce.to_bytes(8, "big")


def _failed(receipt: Receipt, payouts: bytes | None) -> frozenset[int]:
    """The items that the payouts contract says it could not pay."""
    emitter = None if payouts is None else payouts.hex()
    said = (
        events.read_number(log.data[2:])
        for log in receipt.logs
        if log.address[2:] == emitter and log.topics and log.topics[0][2:] == events.FAILED
    )
    return frozenset(item for item in said if item is not None)


def _transfer_logs(receipt: Receipt, token: bytes, source: bytes | None) -> dict[bytes, deque[int]]:
    """Recipient -> the ordinals of the token's logs of transfers to it out of the source, in order."""
    found: dict[bytes, deque[int]] = {}
    if source is None:
        return found
    token_digits, source_digits = token.hex(), source.hex()
    for ordinal, log in enumerate(receipt.logs):
        if (
            log.address[2:] == token_digits
            and len(log.topics) == 3
            and log.topics[0][2:] == events.TRANSFER
            and log.topics[1][26:] == source_digits
        ):
            found.setdefault(bytes.fromhex(log.topics[2][26:]), deque()).append(ordinal)
    return found
