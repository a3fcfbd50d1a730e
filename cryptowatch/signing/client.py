"""Asks the signer process for signatures. Used by `sending` and by `treasury`; holds no key (P9).

A call whose outcome is unknown is simply made again: the same transaction gives the same bytes and is charged
once (P3). Each call has its own connection, so a restarted signer needs no care here.
"""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from cryptowatch.chains.bitcoin.transaction import (
    InvalidTransaction,
    UnsignedTransaction,
    read_transaction,
    to_json,
)
from cryptowatch.chains.ethereum import transaction as ethereum
from cryptowatch.chains.ethereum.recovery import is_signed_by
from cryptowatch.errors import SignerRefused, SignerUnavailable
from cryptowatch.signing.messages import (
    Answer,
    Busy,
    KeyPath,
    MalformedMessage,
    Refused,
    Request,
    SignBitcoin,
    Signed,
    SignerStatus,
    SignEthereum,
    Status,
    Unavailable,
    frame,
    read_answer,
    receive,
)

#: Far above the hexadecimal of any transaction that nodes relay (400 000 weight units).
_ANSWER_BYTES_MAX = 1_048_576


class SigningRefused(SignerRefused):
    """The signer said no: `reason` is one of `signing.policy.Reason`, `detail` is for people."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class SignerClient:
    """Speaks to the socket. Safe to share between tasks."""

    def __init__(self, socket: Path, timeout_s: float) -> None:
        self._socket = socket
        self._timeout_s = timeout_s

    async def sign_bitcoin(
        self,
        *,
        chain: str,
        lineage_id: str,
        transaction: UnsignedTransaction,
        input_paths: Sequence[KeyPath],
        change_paths: Mapping[int, KeyPath],
        cold_indexes: Mapping[int, int],
    ) -> bytes:
        """The signed transaction in its wire form; its id is `transaction.txid`.

        Idempotent. Raises SignerUnavailable (ask again with the same arguments) or SigningRefused, whose
        `reason` tells what may pass later (`hourly_limit`) from what never will.
        """
        answer = await self._ask(
            SignBitcoin(
                chain=chain,
                lineage_id=lineage_id,
                transaction=to_json(transaction),
                input_paths=list(input_paths),
                change_paths=dict(change_paths),
                cold_indexes=dict(cold_indexes),
            )
        )
        raw = _raw(answer)
        try:
            signed = read_transaction(raw)
        except InvalidTransaction as problem:
            raise SignerUnavailable(f"the signer's answer is not a transaction: {problem}") from problem
        if signed.txid != transaction.txid:
            raise SignerUnavailable("the signer answered with another transaction")
        return raw

    async def sign_ethereum(
        self,
        *,
        chain: str,
        lineage_id: str,
        transaction: ethereum.UnsignedTransaction,
        account: bytes,
        key_path: KeyPath,
        authorized_by: Sequence[tuple[bytes, KeyPath]],
    ) -> bytes:
        """The signed transaction in its wire form, proven to be this one and signed by the accounts.

        `authorized_by`: (account, its key) of each authorization.

        Idempotent. Raises SignerUnavailable (ask again with the same arguments) or SigningRefused.
        """
        raw = _raw(
            await self._ask(
                SignEthereum(
                    chain=chain,
                    lineage_id=lineage_id,
                    transaction=ethereum.to_json(transaction),
                    key_path=key_path,
                    authorized_by=[path for _, path in authorized_by],
                )
            )
        )
        if not is_signed_by(raw, transaction, account, [authority for authority, _ in authorized_by]):
            raise SignerUnavailable("the signer answered with another transaction")
        return raw

    async def status(self) -> SignerStatus:
        """Counters for the metrics; also the ping. Raises SignerUnavailable."""
        answer = await self._ask(Status())
        if not isinstance(answer, SignerStatus):
            raise SignerUnavailable(f"the signer answered {type(answer).__name__} to a status request")
        return answer

    async def _ask(self, request: Request) -> Answer:
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._exchange(request)
        except TimeoutError as problem:
            raise SignerUnavailable(f"no answer within {self._timeout_s} s") from problem
        except OSError as problem:
            raise SignerUnavailable(f"{self._socket}: {problem.strerror or problem}") from problem
        except MalformedMessage as problem:
            raise SignerUnavailable(f"its answer cannot be read: {problem}") from problem
        if isinstance(answer, Busy):
            raise SignerUnavailable("it serves as many connections as it may")
        if isinstance(answer, Unavailable):
            raise SignerUnavailable(answer.detail)
        if isinstance(answer, Refused):
            raise SigningRefused(answer.reason, answer.detail)
        return answer

    async def _exchange(self, request: Request) -> Answer:
        reader, writer = await asyncio.open_unix_connection(str(self._socket))
        try:
            writer.write(frame(request))
            await writer.drain()
            body = await receive(reader, _ANSWER_BYTES_MAX)
        finally:
            writer.close()
        if body is None:
            raise MalformedMessage("the signer closed the connection")
        return read_answer(body)


def _raw(answer: Answer) -> bytes:
    if not isinstance(answer, Signed):
        raise SignerUnavailable(f"the signer answered {type(answer).__name__} to a request to sign")
    try:
        return bytes.fromhex(answer.raw_hex)
    except ValueError as problem:
        raise SignerUnavailable("the signer's answer is not hex") from problem
