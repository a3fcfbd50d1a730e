-- name: insert
-- A code; no row when it, or the account's own, is there already.
INSERT INTO referral_code (code, shown, account_id, programme_id, vanity, created_at)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT DO NOTHING
RETURNING *

-- name: own
-- The code that was drawn for an account.
SELECT shown FROM referral_code WHERE account_id = $1 AND NOT vanity

-- name: of_account
-- All codes of an account, the oldest first.
SELECT * FROM referral_code WHERE account_id = $1 ORDER BY created_at, code

-- name: lock_account
-- Holds the account, so that its codes are counted by one at a time.
SELECT FROM account WHERE id = $1 FOR NO KEY UPDATE

-- name: count
-- How many codes of an account still refer.
SELECT count(*) FROM referral_code WHERE account_id = $1 AND disabled_at IS NULL

-- name: programme_exists
-- Whether there is such a programme.
SELECT EXISTS (SELECT FROM referral_programme WHERE id = $1)

-- name: disable
-- A code refers nobody any more; no row when there is no such code, or it did not anyway.
UPDATE referral_code SET disabled_at = $2 WHERE code = $1 AND disabled_at IS NULL RETURNING *
