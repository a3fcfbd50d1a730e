"""One request to sign, from checks to bytes: derive, judge, sign, remember on the disk, and only then answer.

Called by `signing.server`, one request at a time, in a thread of its own (signing and fsync block). Keeps P9
and P3.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptowatch.chains.bitcoin import transaction as bitcoin_transaction
from cryptowatch.chains.ethereum import transaction as ethereum_transaction
from cryptowatch.clock import Clock
from cryptowatch.signing import bitcoin, ethereum
from cryptowatch.signing.account_policy import AccountHistory, AccountLimits, AccountSigning, Charge
from cryptowatch.signing.ethereum import AccountFacts
from cryptowatch.signing.keys import AccountKeys
from cryptowatch.signing.log import Entry, SigningLog
from cryptowatch.signing.messages import Refused, SignBitcoin, Signed, SignerStatus, SignEthereum
from cryptowatch.signing.policy import History, Limits, Reason, Refusal, Signing
from cryptowatch.signing.wallet import WalletKeys


@dataclass(frozen=True, slots=True, repr=False)
class CoinChain:
    """What the signer holds for a chain of coins."""

    accounts: AccountKeys
    limits: Limits
    asset: str
    history: History = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "history", History(self.limits))

    def hourly_amounts(self, now_ms: int) -> Mapping[str, int]:
        return {self.asset: self.history.hourly_amount(now_ms)}


@dataclass(frozen=True, slots=True, repr=False)
class AccountChain:
    """What the signer holds for a chain of accounts."""

    wallet: WalletKeys
    limits: AccountLimits
    facts: AccountFacts
    history: AccountHistory = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "history", AccountHistory(self.limits))

    def hourly_amounts(self, now_ms: int) -> Mapping[str, int]:
        return self.history.hourly_amounts(now_ms)


class SigningService:
    """The signer without its socket. For one caller at a time: a judgement needs the last one recorded."""

    def __init__(self, chains: Mapping[str, CoinChain | AccountChain], log: Path, clock: Clock) -> None:
        """Reads the whole log. Raises LogTampered, LogInUse or LogUnavailable."""
        self._chains = chains
        self._clock = clock
        self._started_s = clock.monotonic_s()
        self._last_ms = 0
        self._requests = 0
        self._signed = 0
        self._refusals: Counter[str] = Counter()
        self._log = SigningLog(log, self._remember)

    def sign(self, request: SignBitcoin | SignEthereum) -> Signed | Refused:
        """Sign or refuse. After LogUnavailable nothing was given, and the process must end; after KeysUnavailable
        nothing was given, and the same may be asked again."""
        self._requests += 1
        chain = self._chains.get(request.chain)
        answer: bytes | Refusal
        match request, chain:
            case SignBitcoin(), CoinChain():
                answer = self._sign_bitcoin(request, chain)
            case SignEthereum(), AccountChain():
                answer = self._sign_ethereum(request, chain)
            case _:
                answer = Refusal(
                    Reason.UNKNOWN_CHAIN, f"the signer has no such policy for chain {request.chain}"
                )
        if isinstance(answer, Refusal):
            return self.refuse(answer)
        self._signed += 1
        return Signed(answer.hex())

    def refuse(self, refusal: Refusal) -> Refused:
        """Count a refusal and put it into words; also for messages that never became a request."""
        self._refusals[refusal.reason.value] += 1
        return Refused(refusal.reason.value, refusal.detail)

    def status(self) -> SignerStatus:
        now_ms = self._now_ms()
        return SignerStatus(
            uptime_s=self._clock.monotonic_s() - self._started_s,
            requests=self._requests,
            signed=self._signed,
            refusals=dict(self._refusals),
            log_entries=self._log.entries,
            log_head=self._log.head,
            hourly_amounts={
                name: ethereum.as_text(chain.hourly_amounts(now_ms)) for name, chain in self._chains.items()
            },
        )

    def close(self) -> None:
        self._log.close()
        for chain in self._chains.values():
            if isinstance(chain, AccountChain):
                chain.wallet.close()

    def _sign_bitcoin(self, request: SignBitcoin, chain: CoinChain) -> bytes | Refusal:
        try:
            transaction = bitcoin_transaction.from_json(request.transaction)
        except bitcoin_transaction.InvalidTransaction as problem:
            return Refusal(Reason.MALFORMED, f"transaction: {problem}")
        # Before deriving anything: what a huge request costs stays bounded.
        inputs, outputs = len(transaction.inputs), len(transaction.outputs)
        if inputs > chain.limits.inputs_max or outputs > chain.limits.outputs_max:
            return Refusal(Reason.TOO_LARGE, f"{inputs} inputs, {outputs} outputs")
        keys = bitcoin.input_keys(transaction, request.input_paths, chain.accounts)
        if isinstance(keys, Refusal):
            return keys
        change = bitcoin.change_outputs(transaction, request.change_paths, chain.accounts)
        if isinstance(change, Refusal):
            return change
        cold = bitcoin.cold_outputs(transaction, request.cold_indexes, chain.limits.cold)
        if isinstance(cold, Refusal):
            return cold
        proposed = bitcoin.proposal(transaction, request.lineage_id, change, cold)
        charge = chain.history.judge(proposed, self._now_ms())
        if isinstance(charge, Refusal):
            return charge
        raw = bitcoin.sign(transaction, keys)
        self._keep(
            Signing(
                chain=request.chain,
                time_ms=self._next_ms(),
                lineage_id=proposed.lineage_id,
                txid=transaction.txid.hex(),
                inputs=proposed.inputs,
                leaving=proposed.leaving,
                charged=charge,
                cold=proposed.cold_amount,
                cold_charged=chain.history.cold_charge(proposed),
            )
        )
        return raw

    def _sign_ethereum(self, request: SignEthereum, chain: AccountChain) -> bytes | Refusal:
        try:
            transaction = ethereum_transaction.from_json(request.transaction)
        except ethereum_transaction.InvalidTransaction as problem:
            return Refusal(Reason.MALFORMED, f"transaction: {problem}")
        keys = ethereum.request_keys(transaction, request.key_path, request.authorized_by, chain.wallet)
        if isinstance(keys, Refusal):
            return keys
        proposed = ethereum.proposal(
            transaction, keys, request.lineage_id, chain.wallet, chain.facts, chain.limits.cold.accounts
        )
        if isinstance(proposed, Refusal):
            return proposed
        charge = chain.history.judge(proposed, self._now_ms())
        if not isinstance(charge, Charge):
            return charge
        tx_hash, raw = ethereum.sign(transaction, keys)
        self._keep(
            AccountSigning(
                chain=request.chain,
                time_ms=self._next_ms(),
                lineage_id=proposed.lineage_id,
                txid=tx_hash.hex(),
                resource=proposed.resource,
                leaving=ethereum.as_text(proposed.leaving()),
                fee=str(proposed.fee),
                charged=ethereum.as_text(charge.amounts),
                fee_charged=str(charge.fee),
                cold=ethereum.as_text(proposed.going_cold()),
                cold_charged=ethereum.as_text(charge.cold),
            )
        )
        return raw

    def _keep(self, entry: Entry) -> None:
        """On the disk before the signature leaves."""
        self._log.append(entry)
        self._remember(entry)

    def _remember(self, entry: Entry) -> None:
        self._last_ms = max(self._last_ms, entry.time_ms)
        chain = self._chains.get(entry.chain)
        # A chain that is no longer configured, or is of another kind now, stays in the log and needs no history.
        match entry, chain:
            case Signing(), CoinChain():
                chain.history.record(entry)
            case AccountSigning(), AccountChain():
                chain.history.record(entry)

    def _next_ms(self) -> int:
        return max(self._now_ms(), self._last_ms)

    def _now_ms(self) -> int:
        return int(self._clock.now().timestamp() * 1000)
