"""What the referrals' calls answer when they do not do what was asked: a stable code and a sentence for people."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Refusal:
    code: str
    detail: str
