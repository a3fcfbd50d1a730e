"""When a batch leaves and who is in it. Pure; called by `worker`.

Keeps P10: a batch has at most `count_max` payouts. Urgent withdrawals leave at once and take as many others with
them as fit, oldest first, so that none starves.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Queued:
    id: UUID
    priority: str
    queued_at: datetime
    amount: int


def due_batch(
    queue: Sequence[Queued],
    now: datetime,
    *,
    count_max: int,
    wait_max_s: float,
    amount_max: int | None = None,
) -> Sequence[UUID]:
    """The withdrawals to send now, or none yet. `queue` is every waiting one, or at least the oldest and urgent.

    `amount_max` (base units) is what the signer allows one transaction to pay. One withdrawal alone may exceed it:
    then the signer refuses, and a person looks.
    """
    if not queue:
        return ()
    urgent = any(item.priority == "urgent" for item in queue)
    oldest_s = max((now - item.queued_at).total_seconds() for item in queue)
    if not urgent and len(queue) < count_max and oldest_s < wait_max_s:
        return ()
    chosen: list[UUID] = []
    total = 0
    for item in sorted(queue, key=lambda item: (item.priority != "urgent", item.queued_at, item.id)):
        fits = amount_max is None or total + item.amount <= amount_max
        if len(chosen) < count_max and (fits or not chosen):
            chosen.append(item.id)
            total += item.amount
    return tuple(chosen)
