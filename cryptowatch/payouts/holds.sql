-- name: released
-- Withdrawals that waited for a case and for nothing else, when none holds their account any more.
SELECT w.* FROM withdrawal w JOIN account a ON a.id = w.account_id
JOIN ledger_account l ON l.owner_id = a.id AND l.owner_kind = 'player' AND l.asset = w.asset
JOIN customer_balance b ON b.account_id = l.id
WHERE w.chain = $1 AND w.state = 'in_review' AND w.reason = 'compliance'
  AND NOT EXISTS (SELECT FROM account_hold h WHERE h.account_id = w.account_id)
  AND a.status <> 'frozen' AND b.total >= b.held
ORDER BY w.queued_at NULLS LAST, w.id LIMIT $2 FOR NO KEY UPDATE OF w SKIP LOCKED
