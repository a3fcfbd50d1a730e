-- name: released
-- Withdrawals that waited for a case or a verdict and for nothing else, when neither stands in their way any more.
SELECT w.* FROM withdrawal w JOIN account a ON a.id = w.account_id
JOIN ledger_account l ON l.owner_id = a.id AND l.owner_kind = 'player' AND l.asset = w.asset
JOIN customer_balance b ON b.account_id = l.id
LEFT JOIN screening s ON s.withdrawal_id = w.id
WHERE w.chain = $1 AND w.state = 'in_review' AND w.reason IN ('compliance', 'screening', 'compliance, screening')
  AND (w.reason = 'compliance' OR s.verdict = 'pass')
  AND NOT EXISTS (SELECT FROM account_hold h WHERE h.account_id = w.account_id)
  AND a.status <> 'frozen' AND b.total >= b.held
ORDER BY w.id LIMIT $2 FOR NO KEY UPDATE OF w SKIP LOCKED

-- name: refused
-- Withdrawals that wait for a verdict, among others, which is no.
SELECT w.* FROM withdrawal w JOIN screening s ON s.withdrawal_id = w.id AND s.verdict = 'refuse'
WHERE w.chain = $1 AND w.state = 'in_review' AND 'screening' = ANY (string_to_array(w.reason, ', '))
ORDER BY w.id LIMIT $2 FOR NO KEY UPDATE OF w SKIP LOCKED
