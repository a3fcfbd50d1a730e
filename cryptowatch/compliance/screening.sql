-- name: waiting
-- Of these withdrawals those that wait for a verdict.
SELECT w.id, w.account_id, w.chain, w.asset, w.amount, w.address, w.created_at FROM withdrawal w
WHERE w.id = ANY ($1::uuid[]) AND w.state = 'in_review' AND 'screening' = ANY (string_to_array(w.reason, ', '))
  AND NOT EXISTS (SELECT FROM screening s WHERE s.withdrawal_id = w.id)
ORDER BY w.id

-- name: add
-- A verdict; the first one counts.
INSERT INTO screening (withdrawal_id, verdict, answered, reference, created_at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (withdrawal_id) DO NOTHING RETURNING withdrawal_id
