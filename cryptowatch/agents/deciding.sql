-- name: hold
-- A statement and what decides whether it may be paid; nobody else's until the transaction ends.
SELECT s.*, a.account_id, a.status AS agent_status, c.status AS account_status,
       EXISTS (SELECT FROM agent_flag f WHERE f.statement_id = s.id AND f.dismissed_at IS NULL) AS flagged
FROM agent_statement s JOIN agent a ON a.id = s.agent_id JOIN account c ON c.id = a.account_id
WHERE s.id = $1 FOR NO KEY UPDATE OF s

-- name: decide
-- Paid or rejected: the last change of its life.
UPDATE agent_statement SET state = $2, decided_by = $3, reason = $4, version = version + 1, updated_at = $5
WHERE id = $1 AND state = 'held'

-- name: dismiss
-- A person looked; no row when somebody did before.
UPDATE agent_flag SET dismissed_by = $3, reason = $4, dismissed_at = $5
WHERE statement_id = $1 AND anomaly = $2 AND dismissed_at IS NULL RETURNING anomaly

-- name: touch
-- A change of a statement that is told.
UPDATE agent_statement SET version = version + 1, updated_at = $2 WHERE id = $1

-- name: payable
-- Held ones for which nothing is left to wait, the oldest first.
SELECT s.id FROM agent_statement s JOIN agent a ON a.id = s.agent_id JOIN account c ON c.id = a.account_id
WHERE s.state = 'held' AND s.held_until <= $1 AND a.status = 'active' AND c.status <> 'frozen'
  AND NOT EXISTS (SELECT FROM agent_flag f WHERE f.statement_id = s.id AND f.dismissed_at IS NULL)
ORDER BY s.held_until, s.id LIMIT $2
