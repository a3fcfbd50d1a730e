"""RLP, the encoding under every hash of Ethereum (Yellow Paper, appendix B), in hex digits. Pure.

Called by `block` and `trie`. Nodes answer in hex: joining digits and converting a whole receipt or transaction once
costs a third of turning each of its fields into bytes. `raw` is that one conversion, and it is strict, so that what
was hashed is what was read: the same digits, in lower case, without anything between them.
"""


class MalformedData(ValueError):
    """An answer that is not the block, receipt or trace that it should be; says what is wrong with it."""


_STRING, _LIST = 0x80, 0xC0
#: Up to so many bytes, the length stands in the first byte.
_SHORT_MAX = 55


def _heads(kind: int) -> tuple[str, ...]:
    """What precedes so many bytes, for all lengths that are common."""
    return tuple(_head(kind, length) for length in range(4096))


def _head(kind: int, length: int) -> str:
    if length <= _SHORT_MAX:
        return f"{kind + length:02x}"
    size = (length.bit_length() + 7) // 8
    return f"{kind + _SHORT_MAX + size:02x}{length:0{2 * size}x}"


_STRING_HEADS, _LIST_HEADS = _heads(_STRING), _heads(_LIST)


def string(digits: str) -> str:
    """A byte string. Raises MalformedData for half a byte, which would shift all that follows."""
    if len(digits) & 1:
        raise MalformedData("hex with an odd number of digits")
    length = len(digits) >> 1
    if length == 1 and digits < "80":
        return digits
    return (_STRING_HEADS[length] if length < 4096 else _head(_STRING, length)) + digits


def listed(payload: str) -> str:
    """A list of items that are encoded already."""
    length = len(payload) >> 1
    return (_LIST_HEADS[length] if length < 4096 else _head(_LIST, length)) + payload


def number(value: int) -> str:
    """A scalar: big endian without leading zeros, nothing for 0."""
    if value == 0:
        return "80"
    digits = f"{value:x}"
    return string("0" + digits if len(digits) & 1 else digits)


def scalar(digits: str) -> str:
    """The same of a number in digits, with leading zeros or without."""
    shortest = digits.lstrip("0")
    if not shortest:
        return "80"
    return string("0" + shortest if len(shortest) & 1 else shortest)


def raw(digits: str) -> bytes:
    """The bytes that the digits stand for. Raises MalformedData for any that a node would not write."""
    try:
        data = bytes.fromhex(digits)
    except ValueError:
        raise MalformedData("not hex") from None
    if data.hex() != digits:
        raise MalformedData("hex that is not in lower case, or has gaps")
    return data
