"""One request to sign, from checks to bytes: derive, judge, sign, remember on the disk, and only then answer.

Called by `signing.server`, one request at a time, in a thread of its own (signing and fsync block). Keeps P9
and P3.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptowatch.chains.bitcoin.transaction import InvalidTransaction, UnsignedTransaction, from_json
from cryptowatch.clock import Clock
from cryptowatch.signing.bitcoin import change_outputs, input_keys, proposal, sign
from cryptowatch.signing.keys import AccountKeys, SigningKey
from cryptowatch.signing.log import SigningLog
from cryptowatch.signing.messages import Refused, SignBitcoin, Signed, SignerStatus
from cryptowatch.signing.policy import History, Limits, Proposal, Reason, Refusal, Signing


@dataclass(frozen=True, slots=True, repr=False)
class ChainKeys:
    """What the signer holds for one chain."""

    accounts: AccountKeys
    limits: Limits


class SigningService:
    """The signer without its socket. For one caller at a time: a judgement needs the last one recorded."""

    def __init__(self, chains: Mapping[str, ChainKeys], log: Path, clock: Clock) -> None:
        """Reads the whole log. Raises LogTampered, LogInUse or LogUnavailable."""
        self._chains = chains
        self._clock = clock
        self._started_s = clock.monotonic_s()
        self._histories = {name: History(chain.limits) for name, chain in chains.items()}
        self._last_ms = 0
        self._requests = 0
        self._signed = 0
        self._refusals: Counter[str] = Counter()
        self._log = SigningLog(log, self._remember)

    def sign_bitcoin(self, request: SignBitcoin) -> Signed | Refused:
        """Sign or refuse. After LogUnavailable nothing was given, and the process must end."""
        self._requests += 1
        answer = self._sign(request)
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
            hourly_amounts={name: history.hourly_amount(now_ms) for name, history in self._histories.items()},
        )

    def close(self) -> None:
        self._log.close()

    def _sign(self, request: SignBitcoin) -> bytes | Refusal:
        chain = self._chains.get(request.chain)
        if chain is None:
            return Refusal(Reason.UNKNOWN_CHAIN, f"the signer has no policy for chain {request.chain}")
        try:
            transaction = from_json(request.transaction)
        except InvalidTransaction as problem:
            return Refusal(Reason.MALFORMED, f"transaction: {problem}")
        # Before deriving anything: what a huge request costs stays bounded.
        inputs, outputs = len(transaction.inputs), len(transaction.outputs)
        if inputs > chain.limits.inputs_max or outputs > chain.limits.outputs_max:
            return Refusal(Reason.TOO_LARGE, f"{inputs} inputs, {outputs} outputs")
        keys = input_keys(transaction, request.input_paths, chain.accounts)
        if isinstance(keys, Refusal):
            return keys
        change = change_outputs(transaction, request.change_paths, chain.accounts)
        if isinstance(change, Refusal):
            return change
        proposed = proposal(transaction, request.lineage_id, change)
        charge = self._histories[request.chain].judge(proposed, self._now_ms())
        if isinstance(charge, Refusal):
            return charge
        return self._sign_and_remember(request.chain, transaction, keys, proposed, charge)

    def _sign_and_remember(
        self,
        chain: str,
        transaction: UnsignedTransaction,
        keys: tuple[SigningKey, ...],
        proposed: Proposal,
        charge: int,
    ) -> bytes:
        raw = sign(transaction, keys)
        signing = Signing(
            chain=chain,
            time_ms=max(self._now_ms(), self._last_ms),
            lineage_id=proposed.lineage_id,
            txid=transaction.txid.hex(),
            inputs=proposed.inputs,
            leaving=proposed.leaving,
            charged=charge,
        )
        self._log.append(signing)
        self._remember(signing)
        return raw

    def _remember(self, signing: Signing) -> None:
        self._last_ms = max(self._last_ms, signing.time_ms)
        history = self._histories.get(signing.chain)
        # A chain that is no longer configured stays in the log and needs no history.
        if history is not None:
            history.record(signing)

    def _now_ms(self) -> int:
        return int(self._clock.now().timestamp() * 1000)
