"""When a batch leaves and who is in it. Pure; called by `worker`.

Keeps P10: a batch has at most `count_max` payouts. Urgent withdrawals leave at once and take as many others with
them as fit, oldest first, so that none starves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Queued:
    id: UUID
    priority: str
    queued_at: datetime
    amount: int
    #: One transaction pays one asset.
    asset: str
    #: Its payment failed in a batch once.
    alone: bool = False


def due_batches(
    queue: Sequence[Queued],
    now: datetime,
    *,
    count_max: int,
    wait_max_s: float,
    amounts_max: Mapping[str, int] = MappingProxyType({}),
) -> Sequence[Sequence[UUID]]:
    """The withdrawals to send now, one transaction of each asset that is due, whose turn it is first.

    `queue` is every waiting one, or at least the oldest and urgent of each asset. `amounts_max` (asset -> base units)
    is what the signer allows one transaction to pay. One withdrawal alone may exceed it: then the signer refuses, and
    a person looks.
    """
    due = [batch for batch in _by_asset(queue) if _is_due(batch, now, count_max, wait_max_s)]
    due.sort(key=lambda batch: _turn(batch[0]))
    return [_fitting(batch, count_max, amounts_max.get(batch[0].asset)) for batch in due]


def _fitting(batch: Sequence[Queued], count_max: int, amount_max: int | None) -> Sequence[UUID]:
    if batch[0].alone:
        return (batch[0].id,)
    chosen: list[UUID] = []
    total = 0
    for item in batch:
        fits = amount_max is None or total + item.amount <= amount_max
        if len(chosen) < count_max and (fits or not chosen) and not item.alone:
            chosen.append(item.id)
            total += item.amount
    return tuple(chosen)


def _by_asset(queue: Sequence[Queued]) -> list[list[Queued]]:
    """Each asset's, in their turn."""
    assets: dict[str, list[Queued]] = {}
    for item in sorted(queue, key=_turn):
        assets.setdefault(item.asset, []).append(item)
    return list(assets.values())


def _turn(item: Queued) -> tuple[bool, datetime, UUID]:
    return item.priority != "urgent", item.queued_at, item.id


def _is_due(batch: Sequence[Queued], now: datetime, count_max: int, wait_max_s: float) -> bool:
    urgent = any(item.priority == "urgent" for item in batch)
    oldest_s = max((now - item.queued_at).total_seconds() for item in batch)
    return urgent or len(batch) >= count_max or oldest_s >= wait_max_s
