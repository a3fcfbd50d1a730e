"""Bitcoin address texts -> output scripts and back, for each network. Pure.

Called by the API (is this a place to which we can pay?), by `sending` and by whatever shows an address. A
text is paid to only when it is right in every detail, because money sent to a wrong script is gone: checksum,
letter case, length, network, witness version (BIP173, BIP350), and for taproot that the key exists at all
(BIP341).
"""

from collections.abc import Iterable, Mapping
from functools import reduce
from operator import xor
from typing import Literal, NamedTuple

from coincurve import PublicKeyXOnly
from embit import base58

from cryptowatch.chains.port import InvalidAddress

Network = Literal["main", "testnet", "signet", "regtest"]

#: BIP173 allows 90 characters; the longest of the addresses that we pay to has 64.
_TEXT_MAX = 90
_LETTERS = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_TO_TEXT = _LETTERS.ljust(256)
_NO_SYMBOL = 255
_FROM_TEXT = bytes(_LETTERS.find(letter) % 256 for letter in range(256))
#: As Python writes and reads numbers to the base of 32.
_TO_DIGITS = b"0123456789abcdefghijklmnopqrstuv".ljust(256)
#: What the checksum comes to for witness version 0 (BIP173) and 1 (BIP350).
_CHECKSUMS = (1, 0x2BC830A3)
_GENERATORS = tuple(
    reduce(
        xor,
        (
            generator
            for bit, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3))
            if top >> bit & 1
        ),
        0,
    )
    for top in range(32)
)


class _Prefixes(NamedTuple):
    """How a network's addresses begin (Bitcoin Core's kernel/chainparams.cpp)."""

    pubkey_hash: int
    script_hash: int
    bech32: str


_TEST_PREFIXES = _Prefixes(111, 196, "tb")
_PREFIXES: Mapping[Network, _Prefixes] = {
    "main": _Prefixes(0, 5, "bc"),
    "testnet": _TEST_PREFIXES,
    "signet": _TEST_PREFIXES,
    "regtest": _Prefixes(111, 196, "bcrt"),
}


def script_of(text: str, network: Network) -> bytes | InvalidAddress:
    """The output script that pays to a P2PKH, P2SH, P2WPKH, P2WSH or P2TR address; or why there is none."""
    if not text or len(text) > _TEXT_MAX or not text.isascii() or not text.isalnum():
        return InvalidAddress(
            f"not an address: that would be up to {_TEXT_MAX} letters and digits and nothing else"
        )
    prefix = text[: text.rfind("1")].lower()
    if prefix in _BEGUN:
        return _script_of_bech32(text, prefix, network)
    return _script_of_base58(text, network)


def address_of(script: bytes, network: Network) -> str | None:
    """The address of an output script, in lower case where case is free; None for a script without one."""
    prefixes = _PREFIXES[network]
    match len(script), script[:2]:
        case (22, b"\x00\x14") | (34, b"\x00\x20"):
            return _encode_bech32(prefixes.bech32, 0, script[2:])
        case 34, b"\x51\x20":
            return _encode_bech32(prefixes.bech32, 1, script[2:])
        case 25, b"\x76\xa9" if script[2] == 0x14 and script[23:] == b"\x88\xac":
            return _encode_base58(prefixes.pubkey_hash, script[3:23])
        case 23, b"\xa9\x14" if script[22] == 0x87:
            return _encode_base58(prefixes.script_hash, script[2:22])
    return None


def _script_of_bech32(text: str, prefix: str, network: Network) -> bytes | InvalidAddress:
    if text not in (text.lower(), text.upper()):
        return InvalidAddress("letters of both cases are mixed")
    symbols = text[len(prefix) + 1 :].lower().encode().translate(_FROM_TEXT)
    if _NO_SYMBOL in symbols or len(symbols) < 6:
        return InvalidAddress("the checksum is wrong: there is a typing error in it")
    checksum = _polymod(_BEGUN[prefix], symbols)
    if checksum not in _CHECKSUMS:
        return InvalidAddress("the checksum is wrong: there is a typing error in it")
    data = symbols[:-6]
    if not data or data[0] > 16:
        return InvalidAddress("not a segwit address: it has no witness version")
    version, program = data[0], _program(data[1:])
    if checksum != _CHECKSUMS[min(version, 1)]:
        return InvalidAddress(f"witness version {version} needs the other checksum (BIP350)")
    if program is None or not 2 <= len(program) <= 40 or (version == 0 and len(program) not in (20, 32)):
        return InvalidAddress("not a segwit address: its length or padding is wrong")
    if prefix != _PREFIXES[network].bech32:
        return _wrong_network(_bech32_networks(prefix), network)
    if version > 1:
        return InvalidAddress(
            f"witness version {version} is not in use: whoever comes first could take the money"
        )
    if version == 1 and len(program) != 32:
        return InvalidAddress("not a taproot address: it has another length")
    if version == 1 and not _is_key(program):
        return InvalidAddress("no key belongs to this taproot address: money sent to it could never be spent")
    return bytes([0x51 if version else 0x00, len(program)]) + program


def _script_of_base58(text: str, network: Network) -> bytes | InvalidAddress:
    try:
        payload: bytes = base58.decode_check(text)
    except ValueError:
        return InvalidAddress("not a Bitcoin address, or there is a typing error in it")
    if len(payload) != 21 or base58.encode_check(payload) != text:
        return InvalidAddress("not a Bitcoin address")
    version, content = payload[0], payload[1:]
    if version == _PREFIXES[network].pubkey_hash:
        return b"\x76\xa9\x14" + content + b"\x88\xac"
    if version == _PREFIXES[network].script_hash:
        return b"\xa9\x14" + content + b"\x87"
    others = [name for name, prefixes in _PREFIXES.items() if version in prefixes[:2]]
    return _wrong_network(others, network) if others else InvalidAddress("not a Bitcoin address")


def _program(symbols: bytes) -> bytes | None:
    """Five bits each, to bytes; None when what is left over is a whole symbol, or not zero (BIP173)."""
    number = int(symbols.translate(_TO_DIGITS) or b"0", 32)
    padding = len(symbols) * 5 % 8
    if padding >= 5 or number & (1 << padding) - 1:
        return None
    return (number >> padding).to_bytes(len(symbols) * 5 // 8, "big")


def _bech32_networks(prefix: str) -> list[Network]:
    return [name for name, prefixes in _PREFIXES.items() if prefixes.bech32 == prefix]


def _wrong_network(others: list[Network], network: Network) -> InvalidAddress:
    return InvalidAddress(f"an address of {' or '.join(others)}, but this is {network}", other_network=True)


def _is_key(x_only: bytes) -> bool:
    """Whether the 32 bytes are the x coordinate of a point on the curve (BIP340, lift_x)."""
    try:
        PublicKeyXOnly(x_only)
    except ValueError:
        return False
    return True


def _encode_base58(version: int, content: bytes) -> str:
    text: str = base58.encode_check(bytes([version]) + content)
    return text


def _encode_bech32(prefix: str, version: int, program: bytes) -> str:
    """BIP173 and BIP350, for programs of 20 and 32 bytes. Our own, as every derived address passes it."""
    bits = -(-len(program) * 8 // 5) * 5
    number = int.from_bytes(program, "big") << bits - len(program) * 8
    symbols = [version, *[number >> shift & 31 for shift in range(bits - 5, -1, -5)]]
    checksum = _polymod(_BEGUN[prefix], [*symbols, 0, 0, 0, 0, 0, 0]) ^ _CHECKSUMS[version]
    symbols += [checksum >> shift & 31 for shift in range(25, -1, -5)]
    return f"{prefix}1{bytes(symbols).translate(_TO_TEXT).decode()}"


def _polymod(checksum: int, symbols: Iterable[int]) -> int:
    """BIP173's polymod, continued from a checksum; the five generators' combinations stand in a table."""
    for symbol in symbols:
        checksum = (checksum & 0x1FFFFFF) << 5 ^ symbol ^ _GENERATORS[checksum >> 25]
    return checksum


def _expanded(prefix: str) -> list[int]:
    return [ord(letter) >> 5 for letter in prefix] + [0] + [ord(letter) & 31 for letter in prefix]


#: prefix -> its part of the checksum, with which each of its addresses begins.
_BEGUN = {prefixes.bech32: _polymod(1, _expanded(prefixes.bech32)) for prefixes in _PREFIXES.values()}
