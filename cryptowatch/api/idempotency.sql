-- name: look
-- Whether the request came before, and its lock if nobody else is at it: held until this transaction ends.
SELECT pg_try_advisory_xact_lock(hashtextextended($1::uuid::text || $2, 1)) AS locked

-- name: read
-- What the first request under this key was, and what it was answered.
SELECT fingerprint, status, body FROM idempotency WHERE api_key_id = $1 AND key = $2

-- name: store
-- The answer, in the transaction of its effect.
INSERT INTO idempotency (api_key_id, key, fingerprint, status, body, created_at, guarded)
VALUES ($1, $2, $3, $4, $5, $6, $7)

-- name: forget
-- Removes a portion of old answers to requests which the ledger itself would recognize.
DELETE FROM idempotency WHERE (api_key_id, key) IN (
    SELECT api_key_id, key FROM idempotency WHERE guarded AND created_at < $1 ORDER BY created_at LIMIT $2)
