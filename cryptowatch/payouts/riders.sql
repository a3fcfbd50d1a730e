-- name: aboard
-- What a transaction pays already.
SELECT count(*) AS count, coalesce(sum(amount), 0) AS amount FROM withdrawal WHERE lineage_id = $1

-- name: riders
-- Queued ones of these priorities that need not leave alone, the oldest first.
SELECT id, amount, destination, address, priority, created_at FROM withdrawal
WHERE chain = $1 AND asset = $2 AND state = 'queued' AND NOT alone AND priority = ANY($3::text[])
ORDER BY queued_at, id LIMIT $4

-- name: claim_riders
-- Those that nobody else holds: the caller holds other locks, and waits for none of these.
SELECT id FROM withdrawal WHERE id = ANY($1::uuid[]) AND state = 'queued' FOR NO KEY UPDATE SKIP LOCKED

-- name: bind_riders
-- From the queue into a transaction that pays others already: their places are behind theirs.
UPDATE withdrawal w SET state = 'sending', lineage_id = $2, tx_hash = $3, position = u.position,
    batch_place = $6 + u.place, reason = NULL, version = version + 1, updated_at = $4
FROM unnest($1::uuid[], $5::integer[]) WITH ORDINALITY AS u (id, position, place)
WHERE w.id = u.id AND w.state = 'queued'
RETURNING w.*
