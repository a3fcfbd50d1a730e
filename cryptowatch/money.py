"""Amounts of money: integer base units inside, decimal strings of whole units at the edges.

Used by everything that reads or shows an amount. No float ever touches one.
"""

import re
from typing import NewType

#: An amount in an asset's smallest unit: satoshi, wei, a token's 10^-decimals. Exact, never negative unless said.
BaseUnits = NewType("BaseUnits", int)

#: The ledger's column is numeric(78, 0): the largest value of 256 bits has 78 digits.
AMOUNT_MAX = 2**256 - 1

_DECIMAL = re.compile(r"(0|[1-9][0-9]{0,77})(?:\.([0-9]{1,78}))?", re.ASCII)


class InvalidAmount(ValueError):
    """Text that is not a plain, exact, positive decimal amount of the asset; says why."""


def parse_amount(text: str, decimals: int) -> BaseUnits:
    """`"0.05"` of an asset with 8 decimals -> 5_000_000. Zero is allowed, a sign or exponent is not.

    Raises InvalidAmount when the text is not plain decimal, is finer than one base unit, or beyond 256 bits.
    """
    match = _DECIMAL.fullmatch(text)
    if match is None:
        raise InvalidAmount('an amount is a plain decimal string such as "0.05"')
    whole, fraction = match.group(1), match.group(2) or ""
    if len(fraction) > decimals and fraction[decimals:].strip("0"):
        raise InvalidAmount(f"the asset has {decimals} decimals")
    base_units = int(whole + fraction[:decimals].ljust(decimals, "0"))
    if base_units > AMOUNT_MAX:
        raise InvalidAmount("the amount is beyond 256 bits")
    return BaseUnits(base_units)


def format_amount(base_units: int, decimals: int) -> str:
    """5_000_000 of an asset with 8 decimals -> `"0.05000000"`: always all decimals, so that widths agree."""
    sign, digits = ("-" if base_units < 0 else ""), str(abs(base_units))
    if decimals == 0:
        return sign + digits
    digits = digits.rjust(decimals + 1, "0")
    return f"{sign}{digits[:-decimals]}.{digits[-decimals:]}"
