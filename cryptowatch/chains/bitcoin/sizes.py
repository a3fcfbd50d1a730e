"""How heavy transactions are before they are built, and what that costs. Pure.

Called by `selection`, by `transaction` and by whoever prices a payout. Weight units and virtual bytes as in
BIP141; fee rates are satoshi per 1000 vB. Inputs are counted at their heaviest (a signature of 72 bytes with
its type), so a fee is never below what the rate asks for.
"""

from collections.abc import Iterable

_WITNESS_SCALE = 4
#: Outpoint, length of the empty script, sequence.
_INPUT_BASE_BYTES = 36 + 1 + 4
#: Items, length and 72 bytes of signature, length and 33 bytes of key.
_P2WPKH_WITNESS_BYTES = 1 + 1 + 72 + 1 + 33
#: Items, length and 64 bytes of signature (BIP341, key path, default type).
_P2TR_WITNESS_BYTES = 1 + 1 + 64
#: The heavier of the two kinds that we own.
INPUT_WEIGHT_MAX = _INPUT_BASE_BYTES * _WITNESS_SCALE + _P2WPKH_WITNESS_BYTES
#: Version and locktime, and of the witness: marker and flag.
_FRAME_WEIGHT = (4 + 4) * _WITNESS_SCALE + 2
#: policy/policy.h: MAX_STANDARD_TX_WEIGHT, DUST_RELAY_TX_FEE.
STANDARD_WEIGHT_MAX = 400_000
_DUST_RATE = 3000


def input_weight(script: bytes) -> int:
    """Weight of spending an output of ours with this script. Raises ValueError unless P2WPKH or P2TR."""
    if len(script) == 22 and script[:2] == b"\x00\x14":
        return _INPUT_BASE_BYTES * _WITNESS_SCALE + _P2WPKH_WITNESS_BYTES
    if len(script) == 34 and script[:2] == b"\x51\x20":
        return _INPUT_BASE_BYTES * _WITNESS_SCALE + _P2TR_WITNESS_BYTES
    raise ValueError("we own only P2WPKH and P2TR outputs")


def output_weight(script: bytes) -> int:
    """Weight of an output with any script."""
    return (8 + _count_bytes(len(script)) + len(script)) * _WITNESS_SCALE


def frame_weight(inputs: int, outputs: int) -> int:
    """Weight of all but the inputs and outputs themselves."""
    return _FRAME_WEIGHT + (_count_bytes(inputs) + _count_bytes(outputs)) * _WITNESS_SCALE


def transaction_weight(input_scripts: Iterable[bytes], output_scripts: Iterable[bytes]) -> int:
    """Weight of a signed transaction that spends outputs of ours with these scripts into these."""
    inputs = [input_weight(script) for script in input_scripts]
    outputs = [output_weight(script) for script in output_scripts]
    return frame_weight(len(inputs), len(outputs)) + sum(inputs) + sum(outputs)


def vsize_of(weight: int) -> int:
    """Virtual bytes, rounded up (BIP141)."""
    return -(-weight // _WITNESS_SCALE)


def fee_of(weight: int, fee_rate: int) -> int:
    """Satoshi for a transaction of this weight at a rate per 1000 vB, rounded up."""
    return -(-vsize_of(weight) * fee_rate // 1000)


def marginal_fee(weight: int, fee_rate: int) -> int:
    """Satoshi that a part of this weight adds at most: parts' fees sum up to no less than the whole's."""
    return -(-weight * fee_rate // (1000 * _WITNESS_SCALE))


def dust_limit(script: bytes) -> int:
    """The smallest amount that is relayed with this script (policy/policy.cpp, GetDustThreshold)."""
    is_witness_program = (
        4 <= len(script) <= 42 and script[0] in (0, *range(0x51, 0x61)) and script[1] == len(script) - 2
    )
    spending_bytes = 32 + 4 + 1 + (107 // _WITNESS_SCALE if is_witness_program else 107) + 4
    return (output_weight(script) // _WITNESS_SCALE + spending_bytes) * _DUST_RATE // 1000


def _count_bytes(number: int) -> int:
    """Length of a CompactSize (serialize.h)."""
    return 1 if number < 0xFD else 3 if number <= 0xFFFF else 5
