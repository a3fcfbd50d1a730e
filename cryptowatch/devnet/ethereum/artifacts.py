"""Compiled contracts, ours and the devnet's own, and how one talks to them.

Used by the faucet, by `EvmChain.deploy`, tests and benchmarks.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from eth_abi.abi import decode, encode
from eth_utils.crypto import keccak

from cryptowatch.chains.ethereum import contracts as production
from cryptowatch.devnet import contracts as private
from cryptowatch.errors import OperatorError

FOLDERS = tuple(Path(package.__path__[0]) for package in (production, private))


@dataclass(frozen=True)
class Contract:
    name: str
    abi: Sequence[Mapping[str, Any]]
    bytecode: bytes

    def creation(self, args: Sequence[Any] = ()) -> bytes:
        """The data of the transaction that deploys it."""
        types = [_types(entry["inputs"]) for entry in self.abi if entry["type"] == "constructor"]
        return self.bytecode + _encoded(self.name, types[0] if types else [], args)

    def call(self, function: str, *args: Any) -> bytes:
        """The data of a call."""
        types = _types(self._function(function)["inputs"])
        selector = keccak(text=f"{function}({','.join(types)})")[:4]
        return selector + _encoded(function, types, args)

    def answer(self, function: str, data: bytes) -> Any:
        """What a call returned: the value, a tuple when there are several."""
        values = decode(_types(self._function(function)["outputs"]), data)
        return values[0] if len(values) == 1 else values

    def _function(self, name: str) -> Mapping[str, Any]:
        return next(entry for entry in self.abi if entry.get("name") == name and entry["type"] == "function")


@cache
def contract(name: str) -> Contract:
    """Raises OperatorError when there is none of that name."""
    for folder in FOLDERS:
        path = folder / f"{name}.json"
        if path.exists():
            found = json.loads(path.read_text(encoding="utf-8"))
            return Contract(name, found["abi"], bytes.fromhex(found["bytecode"].removeprefix("0x")))
    known = sorted(path.stem for folder in FOLDERS for path in folder.glob("*.json"))
    raise OperatorError(f"no contract {name}; there are: {', '.join(known)}")


def _types(inputs: Sequence[Mapping[str, Any]]) -> list[str]:
    return [str(entry["type"]) for entry in inputs]


def _encoded(what: str, types: Sequence[str], args: Sequence[Any]) -> bytes:
    if len(types) != len(args):
        raise OperatorError(f"{what} takes {len(types)} arguments ({', '.join(types)}), not {len(args)}")
    return encode(types, args)
