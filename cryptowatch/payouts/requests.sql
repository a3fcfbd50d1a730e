-- name: insert_withdrawal
-- A request, as it came.
INSERT INTO withdrawal (id, account_id, chain, asset, amount, fee, address, destination, priority, memo, state,
    requested_by, version, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 1, $13, $13)
RETURNING *

-- name: lock_withdrawal
-- One withdrawal, held.
SELECT * FROM withdrawal WHERE id = $1 FOR NO KEY UPDATE

-- name: move_withdrawal
-- Compare-and-set on state and version.
UPDATE withdrawal SET state = $4, reason = $5, version = version + 1, updated_at = $6,
    queued_at = CASE WHEN $4 = 'queued' THEN coalesce(queued_at, $6) ELSE queued_at END
WHERE id = $1 AND state = $2 AND version = $3
RETURNING *
