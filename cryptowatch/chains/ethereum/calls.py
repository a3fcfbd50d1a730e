"""What our contracts and the tokens say: selectors of their calls, topics of their events, and how to read them. Pure.

Called by `contents`. The contracts themselves are in `contracts/`.
"""

from dataclasses import dataclass

from cryptowatch.chains.ethereum.keccak import keccak


def _topic(signature: str) -> str:
    return keccak(signature.encode()).hex()


def _selector(signature: str) -> str:
    return _topic(signature)[:8]


TRANSFER_EVENT = _topic("Transfer(address,address,uint256)")
FAILED_EVENT = _topic("Failed(uint256)")
SWEPT_EVENT = _topic("Swept(uint256)")

TRANSFER = _selector("transfer(address,uint256)")
_BALANCE_OF = _selector("balanceOf(address)")
_PAY_TOKENS = _selector("payTokens(address,address[],uint256[])")
_PAY_NATIVE = _selector("payNative(address[],uint256[])")

_WORD = 64  # digits


@dataclass(frozen=True, slots=True)
class Batch:
    """What the payouts contract was asked to do. Amounts in the token's own units, or in wei."""

    #: None: the chain's own coin.
    token: bytes | None
    recipients: tuple[bytes, ...]
    amounts: tuple[int, ...]


def read_batch(call: str) -> Batch | None:
    """A call (digits) of the payouts contract; None for any other, and for one that the contract would refuse."""
    selector, words = call[:8], call[8:]
    if selector not in (_PAY_TOKENS, _PAY_NATIVE) or len(words) % _WORD:
        return None
    has_token = selector == _PAY_TOKENS
    recipients = _array(words, 1 if has_token else 0)
    amounts = _array(words, 2 if has_token else 1)
    if recipients is None or amounts is None or len(recipients) != len(amounts):
        return None
    return Batch(
        token=bytes.fromhex(words[24:_WORD]) if has_token else None,
        recipients=tuple(bytes.fromhex(word[24:]) for word in recipients),
        amounts=tuple(int(word, 16) for word in amounts),
    )


def recipient_of(call: str) -> bytes:
    """Whom a token's `transfer` pays."""
    return bytes.fromhex(call[32:72])


def balance_of(account: bytes) -> str:
    """The call (digits) that asks a token for an account's balance."""
    return _BALANCE_OF + account.hex().rjust(_WORD, "0")


def read_number(data: str) -> int | None:
    """What an event tells that has one number; None where it has something else."""
    return int(data, 16) if len(data) == _WORD else None


def _array(words: str, argument: int) -> list[str] | None:
    """The words of a dynamic array that is the argument with this number (the ABI's head and tail)."""
    offset = _word_at(words, argument)
    if offset is None or offset % 32:
        return None
    first = offset // 32
    length = _word_at(words, first)
    if length is None or (first + 1 + length) * _WORD > len(words):
        return None
    start = (first + 1) * _WORD
    return [words[place : place + _WORD] for place in range(start, start + length * _WORD, _WORD)]


def _word_at(words: str, place: int) -> int | None:
    word = words[place * _WORD : (place + 1) * _WORD]
    return int(word, 16) if word else None
