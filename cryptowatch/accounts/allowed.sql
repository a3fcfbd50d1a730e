-- name: lock_account
-- One change of an account's list at a time.
SELECT FROM account WHERE id = $1 FOR NO KEY UPDATE

-- name: same
-- The address, when the account allows it already.
SELECT * FROM allowed_address WHERE account_id = $1 AND chain = $2 AND destination = $3

-- name: count
-- How many it allows.
SELECT count(*) FROM allowed_address WHERE account_id = $1

-- name: insert
-- One more.
INSERT INTO allowed_address (id, account_id, chain, destination, address, label, created_at, usable_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
RETURNING *

-- name: of_account
-- All of an account, oldest first.
SELECT * FROM allowed_address WHERE account_id = $1 ORDER BY id

-- name: delete
-- One less.
DELETE FROM allowed_address WHERE account_id = $1 AND id = $2 RETURNING *
