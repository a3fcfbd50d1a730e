-- name: insert
-- A new key; only its digest is kept.
INSERT INTO api_key (id, name, digest, hint, scopes, created_at, expires_at, agent_id, rate_per_s, rate_burst)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
RETURNING id, name, hint, scopes, created_at, expires_at, revoked_at, last_used_at, rate_per_s, rate_burst

-- name: by_digest
-- The keys that callers hold, without those that were revoked.
SELECT id, digest, scopes, expires_at, agent_id, rate_per_s, rate_burst
FROM api_key WHERE digest = ANY ($1::bytea[]) AND revoked_at IS NULL

-- name: all
-- Every key, newest first.
SELECT id, name, hint, scopes, created_at, expires_at, revoked_at, last_used_at, rate_per_s, rate_burst
FROM api_key ORDER BY id DESC

-- name: revoke
-- Ends a key at once; one that was revoked stays revoked since then.
UPDATE api_key SET revoked_at = coalesce(revoked_at, $2) WHERE id = $1
RETURNING id, name, hint, scopes, created_at, expires_at, revoked_at, last_used_at, rate_per_s, rate_burst

-- name: used
-- When keys were last used, written for many requests at once.
UPDATE api_key k SET last_used_at = greatest(k.last_used_at, u.at)
FROM unnest($1::uuid[], $2::timestamptz[]) AS u (id, at) WHERE k.id = u.id
