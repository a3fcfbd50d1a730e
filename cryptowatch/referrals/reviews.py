"""What people do to rewards: approve what is flagged, reject what is not paid yet.

Called by the API inside its transactions.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal
from uuid import UUID

from cryptowatch.db.pool import Connection
from cryptowatch.referrals.machine import Event, State, advance
from cryptowatch.referrals.refusal import Refusal
from cryptowatch.referrals.rewards import Move, lock_reward, move_rewards
from cryptowatch.referrals.view import RewardView, decimals_of, reward_view


async def review(
    conn: Connection,
    reward_id: UUID,
    event: Literal[Event.APPROVE, Event.REJECT],
    *,
    by: str,
    reason: str | None,
    decimals: Mapping[str, int],
    now: datetime,
) -> RewardView | Refusal | None:
    """`by`: the person's API key. None = no such reward. After a Refusal nothing is written."""
    row = await lock_reward(conn, reward_id)
    if row is None:
        return None
    if advance(State(row["state"]), event) is None:
        return Refusal("wrong_state", f"a reward that is {row['state']} cannot do this")
    (moved,) = await move_rewards(conn, [Move(row, event, reason=reason, decided_by=by)], decimals, now)
    return reward_view(moved, decimals_of(row, decimals))
