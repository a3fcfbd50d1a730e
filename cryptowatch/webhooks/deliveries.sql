-- name: behind
-- Endpoints that have not taken the whole feed into their queue yet and may be called now.
SELECT id FROM webhook_endpoint
WHERE state = 'enabled' AND position < $1 AND (paused_until IS NULL OR paused_until <= $2) ORDER BY position

-- name: lock_endpoint
-- One worker at a time fans out to an endpoint; others pass it by.
SELECT event_types, position, url, secret,
       CASE WHEN previous_secret_until > $2 THEN previous_secret END AS previous_secret
FROM webhook_endpoint
WHERE id = $1 AND state = 'enabled' AND (paused_until IS NULL OR paused_until <= $2) FOR NO KEY UPDATE SKIP LOCKED

-- name: waiting
-- How many deliveries of an endpoint wait, counted up to a bound.
SELECT count(*) FROM (
    SELECT FROM webhook_delivery WHERE endpoint_id = $1 AND state = 'pending' LIMIT $2) AS bounded

-- name: enqueue
-- Deliveries of these events to one endpoint; one that was made before (a replay) starts anew. Where `ours` says so, and
-- nothing of the same entity waits before it, it is claimed at once: its row is then written twice in its life, not thrice.
INSERT INTO webhook_delivery AS d
    (endpoint_id, position, event_id, entity_kind, entity_id, state, attempts, next_attempt_at, leased_until, created_at,
     updated_at)
SELECT $1, u.position, u.event_id, u.entity_kind, u.entity_id, 'pending', CASE WHEN free.ours THEN 1 ELSE 0 END, $7,
       CASE WHEN free.ours THEN $8::timestamptz END, $7, $7
FROM unnest($2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::boolean[])
     AS u (position, event_id, entity_kind, entity_id, ours)
CROSS JOIN LATERAL (SELECT u.ours AND (
    SELECT first.position FROM webhook_delivery first
    WHERE first.endpoint_id = $1 AND first.entity_id = u.entity_id AND first.entity_kind = u.entity_kind
      AND first.state = 'pending' ORDER BY first.position LIMIT 1) IS NULL AS ours OFFSET 0) AS free
ON CONFLICT (endpoint_id, position) DO UPDATE SET
    state = 'pending', attempts = excluded.attempts, next_attempt_at = excluded.next_attempt_at,
    leased_until = excluded.leased_until, updated_at = excluded.updated_at
WHERE d.state <> 'pending'
RETURNING d.position, d.id, d.attempts

-- name: advance
-- The endpoint's place in the feed, together with its deliveries.
UPDATE webhook_endpoint SET position = $2 WHERE id = $1

-- name: ready_endpoints
-- Endpoints with something due that may be called now.
SELECT e.id FROM webhook_endpoint e
WHERE e.state = 'enabled' AND (e.paused_until IS NULL OR e.paused_until <= $1)
  AND EXISTS (SELECT FROM webhook_delivery d
              WHERE d.endpoint_id = e.id AND d.state = 'pending' AND d.next_attempt_at <= $1)
ORDER BY e.id

-- name: claim
-- Takes due deliveries, for each endpoint at most its share, and of each entity the first in line only.
-- Written so that each row is reached by index, whatever the planner believes about sizes: the queue's change too fast.
WITH due AS MATERIALIZED (
    SELECT d.id
    FROM unnest($1::uuid[], $2::bigint[]) AS share (endpoint_id, places)
    -- Asked again: since it was found ready, an outcome may have disabled it.
    JOIN webhook_endpoint ready ON ready.id = share.endpoint_id AND ready.state = 'enabled'
    CROSS JOIN LATERAL (
        SELECT w.id FROM webhook_delivery w
        WHERE w.endpoint_id = share.endpoint_id AND w.state = 'pending' AND w.next_attempt_at <= $3
          AND (w.leased_until IS NULL OR w.leased_until <= $3)
          AND w.position = (
              SELECT first.position FROM webhook_delivery first
              WHERE first.endpoint_id = w.endpoint_id AND first.entity_id = w.entity_id
                AND first.entity_kind = w.entity_kind AND first.state = 'pending'
              ORDER BY first.position LIMIT 1)
        ORDER BY w.next_attempt_at, w.position
        LIMIT share.places
        FOR UPDATE OF w SKIP LOCKED
    ) d
), taken AS (
    UPDATE webhook_delivery d SET leased_until = $4, attempts = attempts + 1
    WHERE d.id = ANY (ARRAY(SELECT due.id FROM due))
    RETURNING d.id, d.endpoint_id, d.attempts, d.position, d.event_id
)
SELECT t.id, t.endpoint_id, t.attempts,
       w.url, w.secret, CASE WHEN w.previous_secret_until > $3 THEN w.previous_secret END,
       t.position, e.id, e.type, e.entity_kind, e.entity_id, e.entity_version, e.account_id, e.data, e.created_at
FROM taken t
CROSS JOIN LATERAL (SELECT * FROM event own WHERE own.id = t.event_id OFFSET 0) e
CROSS JOIN LATERAL (SELECT * FROM webhook_endpoint own WHERE own.id = t.endpoint_id OFFSET 0) w
ORDER BY t.position

-- name: hold_endpoints
-- Before their deliveries, as who fans out.
SELECT FROM webhook_endpoint WHERE id = ANY ($1::uuid[]) ORDER BY id FOR NO KEY UPDATE

-- name: failed_attempts
-- What became of claimed deliveries that did not arrive (0032-outcomes-by-index.sql, as the next two).
SELECT deliveries_failed($1, $2, $3, $4, $5, $6, $7)

-- name: arrived
-- What became of those that did, which is nearly all.
SELECT deliveries_arrived($1, $2, $3, $4, $5)

-- name: release
-- Gives claimed deliveries back without an attempt: the worker ends.
SELECT deliveries_released($1, $2)

-- name: failed
-- One more round without a success.
UPDATE webhook_endpoint SET failures = failures + 1, failing_since = coalesce(failing_since, $2)
WHERE id = $1 RETURNING failures, failing_since

-- name: pause
-- Leaves an endpoint alone for a while.
UPDATE webhook_endpoint SET paused_until = greatest(paused_until, $2) WHERE id = $1

-- name: retry
-- One delivery anew, by a person's wish.
UPDATE webhook_delivery SET
    state = 'pending', attempts = 0, next_attempt_at = $3, leased_until = NULL, updated_at = $3
WHERE id = $1 AND endpoint_id = $2 AND state <> 'pending'
RETURNING *

-- name: by_id
-- One delivery of an endpoint, with its event's type.
SELECT d.*, e.type FROM webhook_delivery d JOIN event e ON e.id = d.event_id
WHERE d.id = $1 AND d.endpoint_id = $2

-- name: newest
-- A page of an endpoint's deliveries, newest first.
SELECT d.*, e.type FROM webhook_delivery d JOIN event e ON e.id = d.event_id
WHERE d.endpoint_id = $1 AND ($2::bigint IS NULL OR d.position < $2)
ORDER BY d.position DESC LIMIT $3

-- name: newest_pending
-- The same of those that wait.
SELECT d.*, e.type FROM webhook_delivery d JOIN event e ON e.id = d.event_id
WHERE d.endpoint_id = $1 AND d.state = 'pending' AND ($2::bigint IS NULL OR d.position < $2)
ORDER BY d.position DESC LIMIT $3

-- name: newest_delivered
-- The same of those that arrived.
SELECT d.*, e.type FROM webhook_delivery d JOIN event e ON e.id = d.event_id
WHERE d.endpoint_id = $1 AND d.state = 'delivered' AND ($2::bigint IS NULL OR d.position < $2)
ORDER BY d.position DESC LIMIT $3

-- name: newest_dead
-- The same of those that were given up.
SELECT d.*, e.type FROM webhook_delivery d JOIN event e ON e.id = d.event_id
WHERE d.endpoint_id = $1 AND d.state = 'dead' AND ($2::bigint IS NULL OR d.position < $2)
ORDER BY d.position DESC LIMIT $3

-- name: backlog
-- How many deliveries wait; since when the oldest of them, or of what an endpoint has not taken from the feed, waits; and
-- how far each endpoint is behind the feed.
SELECT (SELECT count(*) FROM webhook_delivery WHERE state = 'pending') AS undelivered,
       least((SELECT min(created_at) FROM webhook_delivery WHERE state = 'pending'),
             (SELECT min(e.created_at) FROM webhook_endpoint w
              JOIN event_position p ON p.position = w.position + 1 JOIN event e ON e.id = p.event_id
              WHERE w.state = 'enabled')) AS oldest,
       (SELECT min(position) FROM webhook_endpoint WHERE state = 'enabled') AS slowest

-- name: forget
-- Removes a portion of what was delivered long ago, and of deleted endpoints.
DELETE FROM webhook_delivery WHERE id IN (
    (SELECT id FROM webhook_delivery WHERE state = 'delivered' AND updated_at < $1 ORDER BY updated_at LIMIT $2)
    UNION ALL
    (SELECT d.id FROM webhook_endpoint e JOIN webhook_delivery d ON d.endpoint_id = e.id
     WHERE e.state = 'deleted' LIMIT $2))
