-- name: look
-- The locks of requests that nobody else is at, in the order asked: held until this transaction ends.
SELECT pg_try_advisory_xact_lock(hashtextextended(asked.api_key_id::text || asked.key, 1)) AS locked
FROM unnest($1::uuid[], $2::text[]) WITH ORDINALITY AS asked (api_key_id, key, place) ORDER BY asked.place

-- name: read
-- What the first request under each key was, and what it was answered; in the order asked.
SELECT i.fingerprint, i.status, i.body
FROM unnest($1::uuid[], $2::text[]) WITH ORDINALITY AS asked (api_key_id, key, place)
LEFT JOIN idempotency i ON i.api_key_id = asked.api_key_id AND i.key = asked.key ORDER BY asked.place

-- name: kept
-- Of many keys of one caller, those that an answer is kept of, and their places from 0 on.
SELECT asked.place::integer - 1 AS place, i.fingerprint, i.status, i.body
FROM unnest($2::text::text[]) WITH ORDINALITY AS asked (key, place)
JOIN idempotency i ON i.api_key_id = $1 AND i.key = asked.key

-- name: store
-- Answers, in the transaction of their effects.
INSERT INTO idempotency (api_key_id, key, fingerprint, status, body, created_at, guarded)
SELECT u.api_key_id, u.key, u.fingerprint, u.status, u.body, $6, $7
FROM unnest($1::uuid[], $2::text[], $3::bytea[], $4::smallint[], $5::bytea[])
     AS u (api_key_id, key, fingerprint, status, body)

-- name: forget
-- Removes a portion of old answers to requests which the ledger itself would recognize.
DELETE FROM idempotency WHERE (api_key_id, key) IN (
    SELECT api_key_id, key FROM idempotency WHERE guarded AND created_at < $1 ORDER BY created_at LIMIT $2)
