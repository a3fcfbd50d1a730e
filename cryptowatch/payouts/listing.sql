-- name: by_id
-- One withdrawal.
SELECT * FROM withdrawal WHERE id = $1

-- name: newest
-- A page of all withdrawals, newest first; the filters leave rows out.
SELECT * FROM withdrawal
WHERE ($1::uuid IS NULL OR id < $1) AND ($3::text IS NULL OR chain = $3)
ORDER BY id DESC LIMIT $2

-- name: newest_by_state
-- The same of one state.
SELECT * FROM withdrawal
WHERE state = $4 AND ($1::uuid IS NULL OR id < $1) AND ($3::text IS NULL OR chain = $3)
ORDER BY id DESC LIMIT $2

-- name: newest_by_account
-- The same of one account, optionally of one state.
SELECT * FROM withdrawal
WHERE account_id = $5 AND ($1::uuid IS NULL OR id < $1) AND ($3::text IS NULL OR chain = $3)
  AND ($4::text IS NULL OR state = $4)
ORDER BY id DESC LIMIT $2
