"""How a referral code is spelled: drawn from randomness, or chosen by people; folded before it is compared. Pure.

Called by `codes` and `attribution`. A drawn code is nine characters of Crockford's base 32 (no I, L, O, U): 45 bits, so
that of a million codes one in 33 million guesses finds one. Folding reads what people write for what was meant (lower
case, hyphens, O for 0, I and L for 1), and so makes two codes that look alike the same code: nobody can have the other.
"""

import re
from collections.abc import Collection
from typing import Final

ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
CHARACTERS: Final = 9
#: Randomness that a code is drawn from.
BYTES: Final = 6

#: What an API takes as a code, before folding.
PATTERN: Final = r"^[0-9A-Za-z-]{4,24}$"
_FOLDED: Final = re.compile(r"[0-9A-Z]{4,20}", re.ASCII)
_LOOKALIKES: Final = str.maketrans("OIL", "011", "-")


def draw(randomness: bytes) -> str:
    """The code of so many random bytes, each as likely as every other."""
    number = int.from_bytes(randomness[:BYTES], "big")
    return "".join(ALPHABET[number >> 5 * place & 31] for place in range(CHARACTERS))


def fold(text: str) -> str | None:
    """The one spelling that codes are compared by; None when the text cannot be a code."""
    folded = text.upper().translate(_LOOKALIKES)
    return folded if _FOLDED.fullmatch(folded) else None


def is_reserved(folded: str, words: Collection[str]) -> bool:
    """Whether a chosen code reads as one of the words that speak for the house."""
    return folded in {fold(word) for word in words}
