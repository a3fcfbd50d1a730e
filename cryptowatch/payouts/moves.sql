-- name: move_withdrawal
-- Compare-and-set on state and version.
UPDATE withdrawal SET state = $4, reason = $5, version = version + 1, updated_at = $6,
    approved_by = CASE WHEN $7::text IS NULL THEN approved_by ELSE approved_by || $7::text END,
    queued_at = CASE WHEN $4 = 'queued' THEN coalesce(queued_at, $6) ELSE queued_at END
WHERE id = $1 AND state = $2 AND version = $3
RETURNING *

-- name: set_aside
-- Queued withdrawals of accounts that were frozen, left in debt by a reversal, or held by a case, since they were requested.
UPDATE withdrawal w SET state = $2, reason = f.reason, version = w.version + 1, updated_at = $3
FROM (SELECT q.id, CASE WHEN a.status = 'frozen' THEN 'account_frozen' WHEN b.total < b.held THEN 'account_in_debt'
                        ELSE 'compliance' END AS reason
      FROM withdrawal q JOIN account a ON a.id = q.account_id
      LEFT JOIN ledger_account l ON l.owner_id = a.id AND l.owner_kind = 'player' AND l.asset = q.asset
      LEFT JOIN customer_balance b ON b.account_id = l.id
      WHERE q.chain = $1 AND q.state = 'queued' AND (a.status = 'frozen' OR b.total < b.held
           OR EXISTS (SELECT FROM account_hold h WHERE h.account_id = a.id))) AS f
WHERE w.id = f.id AND w.state = 'queued'
RETURNING w.*
