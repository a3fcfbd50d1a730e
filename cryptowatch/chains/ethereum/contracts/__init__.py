"""Our own contracts: batched payouts, sweeping. Source (.vy), and what it compiles to (.json) beside it.

`scripts/contracts` compiles them; nothing of the compiler is needed to run the daemon. What is deployed is the compiled
code and its immutable values, so that a look at the chain says whether an address has our contract, for our accounts.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent
_WORD_BYTES = 32
#: DynArray[address, 16] in the sources: room for so many, whether used or not.
_OPERATORS_MAX = 16


@dataclass(frozen=True, slots=True)
class _Compiled:
    creation: bytes
    runtime: bytes


@dataclass(frozen=True, slots=True)
class WalletContracts:
    """What a wallet's contracts must be. `senders`: its accounts that send, the vault first; all 20 bytes each."""

    senders: Sequence[bytes]

    def payouts_code(self) -> bytes:
        """What must be at the address."""
        return _compiled("Payouts").runtime + _word(self.senders[0]) + self._operators()

    def sweeper_code(self) -> bytes:
        return _compiled("Sweeper").runtime + self._operators()

    def delegate_code(self, sweeper: bytes) -> bytes:
        return _compiled("SweepDelegate").runtime + _word(sweeper) + _word(self.senders[0])

    def payouts_creation(self) -> bytes:
        """The data of the transaction that deploys it."""
        arguments = _word(self.senders[0]) + _number(2 * _WORD_BYTES) + self._listed()
        return _compiled("Payouts").creation + arguments

    def sweeper_creation(self) -> bytes:
        return _compiled("Sweeper").creation + _number(_WORD_BYTES) + self._listed()

    def delegate_creation(self, sweeper: bytes) -> bytes:
        return _compiled("SweepDelegate").creation + _word(sweeper) + _word(self.senders[0])

    def _listed(self) -> bytes:
        return _number(len(self.senders)) + b"".join(map(_word, self.senders))

    def _operators(self) -> bytes:
        return self._listed() + bytes(_WORD_BYTES * (_OPERATORS_MAX - len(self.senders)))


@cache
def _compiled(name: str) -> _Compiled:
    found = json.loads((_FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return _Compiled(bytes.fromhex(found["bytecode"][2:]), bytes.fromhex(found["runtime"][2:]))


def _word(address: bytes) -> bytes:
    return address.rjust(_WORD_BYTES, b"\0")


def _number(value: int) -> bytes:
    return value.to_bytes(_WORD_BYTES, "big")
