-- name: lock_creation
-- One creation at a time, so that the number of endpoints stays within its bound.
SELECT pg_advisory_xact_lock(hashtextextended('cryptowatch.webhook_endpoint', 0))

-- name: count
-- How many endpoints there are.
SELECT count(*) FROM webhook_endpoint WHERE state <> 'deleted'

-- name: insert
-- A new endpoint hears of what happens from now on.
INSERT INTO webhook_endpoint (id, url, description, event_types, state, secret, position, created_at, updated_at)
VALUES ($1, $2, $3, $4, 'enabled', $5, $6, $7, $7)
RETURNING *

-- name: by_id
-- One endpoint.
SELECT * FROM webhook_endpoint WHERE id = $1 AND state <> 'deleted'

-- name: newest
-- A page of endpoints, newest first.
SELECT * FROM webhook_endpoint
WHERE state <> 'deleted' AND ($1::uuid IS NULL OR id < $1)
ORDER BY id DESC LIMIT $2

-- name: patch
-- What is NULL stays as it is. Enabling one forgets its failures.
UPDATE webhook_endpoint SET
    url = coalesce($2, url),
    description = coalesce($3, description),
    event_types = coalesce($4, event_types),
    state = coalesce($5, state),
    reason = CASE WHEN $5 = 'enabled' THEN NULL WHEN $5 = 'disabled' THEN 'by request' ELSE reason END,
    failures = CASE WHEN $5 = 'enabled' THEN 0 ELSE failures END,
    paused_until = CASE WHEN $5 = 'enabled' THEN NULL ELSE paused_until END,
    failing_since = CASE WHEN $5 = 'enabled' THEN NULL ELSE failing_since END,
    version = version + 1,
    updated_at = $6
WHERE id = $1 AND state <> 'deleted'
RETURNING *

-- name: delete
-- Ends it at once; its deliveries are removed later, in portions.
UPDATE webhook_endpoint SET state = 'deleted', version = version + 1, updated_at = $2
WHERE id = $1 AND state <> 'deleted'
RETURNING *

-- name: rotate_secret
-- The old secret keeps signing beside the new one until $3.
UPDATE webhook_endpoint SET
    previous_secret = secret, previous_secret_until = $3, secret = $2, version = version + 1, updated_at = $4
WHERE id = $1 AND state <> 'deleted'
RETURNING *

-- name: touch
-- A new version, for an event that is about the endpoint itself.
UPDATE webhook_endpoint SET version = version + 1, updated_at = $2
WHERE id = $1 AND state <> 'deleted'
RETURNING *

-- name: rewind
-- Moves the endpoint's place in the feed back; never forward, so that nothing is passed over.
UPDATE webhook_endpoint SET position = least(position, $2), version = version + 1, updated_at = $3
WHERE id = $1 AND state <> 'deleted'
RETURNING *

-- name: disable
-- Nobody seems to listen any more.
UPDATE webhook_endpoint SET state = 'disabled', reason = $2, version = version + 1, updated_at = $3
WHERE id = $1 AND state = 'enabled'
RETURNING *
