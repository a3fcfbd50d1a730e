"""bitcoinds that tell of another chain than they have: behind by some blocks, or with forged ones.

`teller` asks a lie about each call before it asks the node. A lie knows RPC only; `rest` puts REST on top of
it, so that both always tell the same story.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from cryptowatch.devnet.blocks import Block, assemble, hidden, parse_block, payment, shown
from cryptowatch.devnet.lying import PASS, Ask, Refused

_HASHES_REMEMBERED = 400
_OP_TRUE: Final = b"\x51"


class StaleHead:
    """The node as it was: the blocks it had, no younger ones, whatever happened to the chain since."""

    def __init__(self, ask: Ask, chain_info: dict[str, Any], hashes: dict[int, str]) -> None:
        self._ask = ask
        self._info = chain_info
        self._hashes = hashes

    @classmethod
    async def capture(cls, ask: Ask) -> "StaleHead":
        info = await ask("getblockchaininfo")
        height = int(info["blocks"])
        hashes = {}
        for n in range(max(0, height - _HASHES_REMEMBERED), height + 1):
            hashes[n] = str(await ask("getblockhash", n))
        return cls(ask, info, hashes)

    async def rpc(self, method: str, params: Sequence[Any]) -> Any:
        height, best = int(self._info["blocks"]), str(self._info["bestblockhash"])
        match method, list(params):
            case "getblockchaininfo", _:
                return self._info
            case "getblockcount", _:
                return height
            case "getbestblockhash", _:
                return best
            case "getchaintips", _:
                return [{"height": height, "hash": best, "branchlen": 0, "status": "active"}]
            case "getblockhash", [int(wanted), *_]:
                if not 0 <= wanted <= height:
                    raise Refused(-8, "Block height out of range")
                return self._hashes.get(wanted, PASS)
            case (("getblock" | "getblockheader"), [str(block_hash), *_]):
                return await self._block(method, block_hash, params, height)
            case "getrawtransaction", [_, int() | bool() as verbose, *_] if verbose:
                return await self._transaction(params, height)
        return PASS

    async def _block(self, method: str, block_hash: str, params: Sequence[Any], height: int) -> Any:
        header = await self._ask("getblockheader", block_hash)
        place = int(header["height"])
        if place > height or self._hashes.get(place, block_hash) != block_hash:
            raise Refused(-5, "Block not found")
        answer = await self._ask(method, *params)
        if isinstance(answer, dict):
            answer["confirmations"] = height - place + 1
            answer.pop("nextblockhash", None)
            if place < height:
                answer["nextblockhash"] = self._hashes.get(place + 1, header.get("nextblockhash"))
        return answer

    async def _transaction(self, params: Sequence[Any], height: int) -> Any:
        answer = await self._ask("getrawtransaction", *params)
        if "blockhash" in answer:
            place = int((await self._ask("getblockheader", answer["blockhash"]))["height"])
            if place > height or self._hashes.get(place, answer["blockhash"]) != answer["blockhash"]:
                for key in ("blockhash", "confirmations", "time", "blocktime"):
                    answer.pop(key, None)
            else:
                answer["confirmations"] = height - place + 1
        return answer


@dataclass(frozen=True)
class _Forged:
    height: int
    real_hash: str
    block: Block

    @property
    def hash(self) -> str:
        return shown(self.block.hash)


class ForgedBlocks:
    """Other blocks above a height, each with the real one's transactions and one more.

    `body_only`: the real hashes and headers, with the forged contents, whose merkle root is another.
    """

    def __init__(self, ask: Ask, above: int, *, script: bytes, amount_sat: int, body_only: bool) -> None:
        self._ask = ask
        self._above = above
        self._script = script
        self._amount_sat = amount_sat
        self._body_only = body_only
        self._forged: dict[int, _Forged] = {}

    async def rpc(self, method: str, params: Sequence[Any]) -> Any:
        match method, list(params):
            case (("getblock" | "getblockheader"), [str(block_hash), *rest]):
                await self._catch_up()
                return await self._block(method, block_hash, rest)
            case (("getbestblockhash" | "getblockchaininfo" | "getblockhash" | "getchaintips"), _):
                if self._body_only:
                    return PASS
                await self._catch_up()
                return await self._head(method, params)
        return PASS

    async def _head(self, method: str, params: Sequence[Any]) -> Any:
        answer = await self._ask(method, *params)
        renamed = {forged.real_hash: forged.hash for forged in self._forged.values()}
        if isinstance(answer, str):
            return renamed.get(answer, answer)
        if method == "getblockchaininfo":
            return {**answer, "bestblockhash": renamed.get(answer["bestblockhash"], answer["bestblockhash"])}
        return [{**tip, "hash": renamed.get(tip["hash"], tip["hash"])} for tip in answer]

    async def _catch_up(self) -> None:
        """Forge what is new above the height, and anew what a reorg replaced."""
        tip = int(await self._ask("getblockcount"))
        for stale in [height for height in self._forged if height > tip]:
            del self._forged[stale]
        fresh = False
        for height in range(self._above + 1, tip + 1):
            real_hash = str(await self._ask("getblockhash", height))
            known = self._forged.get(height)
            if fresh or known is None or known.real_hash != real_hash:
                fresh = True
                self._forged[height] = await self._forge(height, real_hash)

    async def _forge(self, height: int, real_hash: str) -> _Forged:
        real = parse_block(bytes.fromhex(await self._ask("getblock", real_hash, 0)))
        below = self._forged.get(height - 1)
        parent = real.header[4:36] if below is None or self._body_only else below.block.hash
        extra = payment(self._script, self._amount_sat, b"forged" + real.hash)
        content = [*real.transactions[1:], extra]
        block = assemble(parent, height, real.time, content, pay_to=_OP_TRUE, salt=real.hash[:16])
        return _Forged(
            height, real_hash, Block(real.header, block.transactions) if self._body_only else block
        )

    async def _block(self, method: str, block_hash: str, options: Sequence[Any]) -> Any:
        wanted = [forged for forged in self._forged.values() if block_hash == forged.hash]
        if not wanted:
            return PASS
        forged = wanted[0]
        verbosity = int(options[0]) if options else 1
        if method == "getblockheader":
            if verbosity == 0:
                return forged.block.header.hex()
        elif verbosity == 0:
            return forged.block.raw.hex()
        answer = await self._ask(method, forged.real_hash, *options)
        answer |= {"hash": forged.hash, "nTx": len(forged.block.transactions)}
        answer["merkleroot"] = shown(forged.block.header[36:68])
        answer["nonce"] = int.from_bytes(forged.block.header[76:80], "little")
        answer["previousblockhash"] = shown(forged.block.header[4:36])
        if forged.height + 1 in self._forged:
            answer["nextblockhash"] = self._forged[forged.height + 1].hash
        if "tx" in answer:
            answer["tx"] = await self._contents(forged, answer["tx"])
        return answer

    async def _contents(self, forged: _Forged, real: list[Any]) -> list[Any]:
        known = {tx["txid"]: tx for tx in real if isinstance(tx, dict)}
        contents: list[Any] = []
        for tx in forged.block.transactions:
            name = shown(tx.txid)
            if real and isinstance(real[0], str):
                contents.append(name)
            elif name in known:
                contents.append(known[name])
            else:
                contents.append(
                    {**await self._ask("decoderawtransaction", tx.raw.hex()), "hex": tx.raw.hex()}
                )
        return contents


@dataclass(frozen=True)
class RestAnswer:
    content_type: str
    body: bytes | dict[str, Any] | list[Any]


async def rest(path: str, ask: Ask) -> RestAnswer | None:
    """A node's REST answer put together from RPC answers; None for what has nothing to do with blocks.

    Raises Refused when there is no such block.
    """
    stem, _, form = path.removeprefix("/rest/").partition("?")[0].rpartition(".")
    match stem.split("/"):
        case ["chaininfo"]:
            return RestAnswer("application/json", await ask("getblockchaininfo"))
        case ["blockhashbyheight", height] if height.isdigit():
            block_hash = str(await ask("getblockhash", int(height)))
            return _formed(form, hidden(block_hash), {"blockhash": block_hash})
        case ["block", block_hash] | ["block", "notxdetails", block_hash]:
            if form == "json":
                return RestAnswer(
                    "application/json", await ask("getblock", block_hash, 1 if "notx" in stem else 3)
                )
            return _formed(form, bytes.fromhex(await ask("getblock", block_hash, 0)), {})
        case ["headers", block_hash]:
            count = path.partition("count=")[2].partition("&")[0]
            return await _headers(ask, block_hash, int(count) if count.isdigit() else 5, form)
        case ["headers", count, block_hash] if count.isdigit():
            return await _headers(ask, block_hash, int(count), form)
    return None


async def _headers(ask: Ask, block_hash: str, count: int, form: str) -> RestAnswer:
    headers: list[Any] = []
    raw = b""
    following: str | None = block_hash
    while following is not None and len(headers) < count:
        headers.append(await ask("getblockheader", following, True))
        raw += bytes.fromhex(await ask("getblockheader", following, False))
        following = headers[-1].get("nextblockhash")
    return _formed(form, raw, headers)


def _formed(form: str, raw: bytes, value: dict[str, Any] | list[Any]) -> RestAnswer:
    if form == "bin":
        return RestAnswer("application/octet-stream", raw)
    if form == "hex":
        return RestAnswer("text/plain", raw.hex().encode() + b"\n")
    return RestAnswer("application/json", value)
