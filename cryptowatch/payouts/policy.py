"""Which withdrawals are refused, as a pure function; limits, lists and approvals by amount join here later.

Called by `requests`. Each refusal is a stable code with a sentence for people.
"""

from dataclasses import dataclass

from cryptowatch.chains.port import InvalidAddress
from cryptowatch.money import BaseUnits, format_amount, parse_amount
from cryptowatch.settings.chains import AssetSettings


@dataclass(frozen=True, slots=True)
class WithdrawalPolicy:
    """An asset's withdrawal rules on one chain, in base units. `fee` is what the player pays on top."""

    decimals: int
    minimum: BaseUnits
    maximum: BaseUnits
    fee: BaseUnits
    #: The chain can pay multiples of this alone: its contract counts in fewer decimals than the ledger.
    unit: int = 1


def withdrawal_policy(settings: AssetSettings) -> WithdrawalPolicy:
    return WithdrawalPolicy(
        decimals=settings.decimals,
        minimum=parse_amount(settings.withdrawal_min, settings.decimals),
        maximum=parse_amount(settings.withdrawal_max, settings.decimals),
        fee=parse_amount(settings.withdrawal_fee, settings.decimals),
        unit=int(10**settings.scale),
    )


def refusal_code(
    amount: int,
    destination: bytes | InvalidAddress,
    account_status: str,
    policy: WithdrawalPolicy,
) -> tuple[str, str] | None:
    """(code, sentence), or None when nothing speaks against it. Self-excluded players may always take money out."""
    if account_status == "frozen":
        return "account_frozen", "the account is frozen"
    if isinstance(destination, InvalidAddress):
        return "invalid_address", destination.reason
    if amount % policy.unit:
        smallest = format_amount(BaseUnits(policy.unit), policy.decimals)
        return "amount_too_precise", f"on this chain amounts are multiples of {smallest}"
    if amount < policy.minimum:
        return "amount_below_minimum", f"the minimum is {format_amount(policy.minimum, policy.decimals)}"
    if amount > policy.maximum:
        return "limit_exceeded", f"the maximum is {format_amount(policy.maximum, policy.decimals)}"
    return None
