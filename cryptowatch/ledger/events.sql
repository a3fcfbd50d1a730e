-- name: append
-- Events in the order given, and their place in the queue for a position.
SELECT append_events($1, $2, $3, $4, $5, $6, $7)

-- name: queue
-- The ids of so many events, by the thousand, which wait for a position from now on.
INSERT INTO event_queue (first_id, event_ids)
SELECT ids[1], ids
FROM (SELECT ARRAY(SELECT nextval('event_id') FROM generate_series(1, least(1000, $1 - 1000 * part))) AS ids
      FROM generate_series(0, ($1::bigint - 1) / 1000) AS part OFFSET 0) AS new
RETURNING event_ids

-- name: sequence
-- Gives positions to committed events.
SELECT sequence_events($1)

-- name: read
-- The feed after a position, optionally up to another.
SELECT * FROM events_after($1, $2, $3)

-- name: read_account
-- The same of one account only, of some types or of all.
SELECT * FROM events_of_account($1, $2, $3, $4, $5)

-- name: read_types
-- The same of some types. Of rare ones all that follows is looked at, which by index, one after the other, takes longest.
SELECT p.position, e.id, e.type, e.entity_kind, e.entity_id, e.entity_version, e.account_id, e.data, e.created_at
FROM event_position p JOIN event e ON e.id = p.event_id
WHERE p.position > $1 AND e.type = ANY ($3) AND ($4::bigint IS NULL OR p.position <= $4)
ORDER BY p.position
LIMIT $2

-- name: head
-- The last position given, 0 when there is none.
SELECT feed_head()

-- name: unsequenced
-- How many committed events wait for a position.
SELECT coalesce(sum(cardinality(event_ids)), 0)::bigint FROM event_queue
