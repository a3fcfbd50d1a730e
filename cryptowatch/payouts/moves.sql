-- name: move_withdrawal
-- Compare-and-set on state and version.
UPDATE withdrawal SET state = $4, reason = $5, version = version + 1, updated_at = $6,
    approved_by = CASE WHEN $7::text IS NULL THEN approved_by ELSE approved_by || $7::text END,
    queued_at = CASE WHEN $4 = 'queued' THEN coalesce(queued_at, $6) ELSE queued_at END
WHERE id = $1 AND state = $2 AND version = $3
RETURNING *
