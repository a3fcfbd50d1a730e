-- name: lock_withdrawal
-- One withdrawal, held, and how its account stands now.
SELECT w.*, a.status AS account_status FROM withdrawal w JOIN account a ON a.id = w.account_id
WHERE w.id = $1 FOR NO KEY UPDATE OF w

-- name: approve
-- One key's approval in one review; the same key twice violates the primary key.
INSERT INTO withdrawal_approval (withdrawal_id, review, approved_by, reason, approved_at) VALUES ($1, $2, $3, $4, $5)
