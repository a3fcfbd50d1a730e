-- name: lock_withdrawal
-- One withdrawal and its account's balance, held, and how the account stands now.
SELECT w.*, a.status AS account_status, b.total < b.held AS in_debt,
    EXISTS (SELECT FROM account_hold h WHERE h.account_id = w.account_id) AS under_review,
    CASE WHEN w.state = 'in_review' AND 'screening' = ANY (string_to_array(w.reason, ', '))
         THEN coalesce((SELECT s.verdict FROM screening s WHERE s.withdrawal_id = w.id), 'pending') END AS screening
FROM withdrawal w JOIN account a ON a.id = w.account_id
JOIN ledger_account l ON l.owner_id = a.id AND l.owner_kind = 'player' AND l.asset = w.asset
JOIN customer_balance b ON b.account_id = l.id
WHERE w.id = $1 FOR NO KEY UPDATE OF w, b

-- name: approve
-- One key's approval in one review; the same key twice violates the primary key.
INSERT INTO withdrawal_approval (withdrawal_id, review, approved_by, reason, approved_at) VALUES ($1, $2, $3, $4, $5)
