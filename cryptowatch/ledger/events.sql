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
-- The feed after a position, optionally up to another, of some types or of one account only.
SELECT * FROM events_after($1, $2, $3, $4, $5)

-- name: head
-- The last position given, 0 when there is none.
SELECT feed_head()

-- name: unsequenced
-- How many committed events wait for a position.
SELECT coalesce(sum(cardinality(event_ids)), 0)::bigint FROM event_queue
