-- name: append
-- An action, and its wait for a place in the chain.
WITH new AS (
    INSERT INTO audit_entry (actor, action, subjects, request_id, body_digest, outcome, created_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id)
INSERT INTO audit_queue (entry_id) SELECT id FROM new

-- name: alone
-- One sealer at a time, until its transaction ends; another one that comes meanwhile does nothing.
SELECT pg_try_advisory_xact_lock(hashtextextended('cryptowatch.seal_audit', 0))

-- name: head
-- The last link of the chain.
SELECT position, hash FROM audit_seal ORDER BY position DESC LIMIT 1

-- name: take
-- The oldest committed entries without a place.
WITH taken AS (
    DELETE FROM audit_queue WHERE entry_id IN (SELECT entry_id FROM audit_queue ORDER BY entry_id LIMIT $1)
    RETURNING entry_id)
SELECT e.id, e.actor, e.action, e.subjects, e.request_id, e.body_digest, e.outcome, e.created_at
FROM taken t JOIN audit_entry e ON e.id = t.entry_id ORDER BY e.id

-- name: seal
-- Further links, in order.
INSERT INTO audit_seal (position, entry_id, hash)
SELECT position, entry_id, hash FROM unnest($1::bigint[], $2::bigint[], $3::bytea[]) AS new (position, entry_id, hash)

-- name: chain
-- The whole chain from its beginning, with what it seals.
SELECT s.position, s.entry_id, s.hash, e.actor, e.action, e.subjects, e.request_id, e.body_digest, e.outcome, e.created_at
FROM audit_seal s LEFT JOIN audit_entry e ON e.id = s.entry_id ORDER BY s.position

-- name: unsealed
-- How many entries wait for their place.
SELECT count(*) FROM audit_queue

-- name: stray
-- The first entry that neither has a place nor waits for one.
SELECT min(e.id) FROM audit_entry e
WHERE NOT EXISTS (SELECT FROM audit_seal s WHERE s.entry_id = e.id)
  AND NOT EXISTS (SELECT FROM audit_queue q WHERE q.entry_id = e.id)

-- name: newest
-- A page of the sealed log, newest first.
SELECT s.position, s.hash, e.actor, e.action, e.subjects, e.request_id, e.body_digest, e.outcome, e.created_at
FROM audit_seal s JOIN audit_entry e ON e.id = s.entry_id
WHERE $1::bigint IS NULL OR s.position < $1
ORDER BY s.position DESC LIMIT $2

-- name: newest_of_subject
-- The same of what was about one id.
SELECT s.position, s.hash, e.actor, e.action, e.subjects, e.request_id, e.body_digest, e.outcome, e.created_at
FROM audit_entry e JOIN audit_seal s ON s.entry_id = e.id
WHERE e.subjects @> ARRAY[$3::text] AND ($1::bigint IS NULL OR s.position < $1)
ORDER BY s.position DESC LIMIT $2
