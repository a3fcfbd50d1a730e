-- name: begin
-- A consumer's place, before the first event.
INSERT INTO consumer (name, position) VALUES ($1, 0) ON CONFLICT (name) DO NOTHING

-- name: take
-- Moves the place by a portion, unless another transaction holds it, and reads the portion's events of some types: one row
-- for each, one without an event where there are none; no row where nothing is new.
WITH held AS MATERIALIZED (
    SELECT c.position AS after, least(c.position + $2, feed_head()) AS until
    FROM consumer c
    WHERE c.name = $1
    FOR NO KEY UPDATE OF c SKIP LOCKED
), moved AS (
    UPDATE consumer c SET position = held.until FROM held WHERE c.name = $1 AND held.until > held.after
    RETURNING held.after, held.until
)
SELECT m.after, m.until, e.*
FROM moved m
LEFT JOIN LATERAL events_between(m.after, m.until, $3) AS e ON true
ORDER BY e.position

-- name: look
-- The portion that comes next, as `take` gives it, without moving or holding the place.
SELECT m.after, m.until, e.*
FROM (SELECT own.after, least(own.after + $2, feed_head()) AS until
      FROM (SELECT coalesce(max(c.position), 0) AS after FROM consumer c WHERE c.name = $1) AS own) AS m
LEFT JOIN LATERAL events_between(m.after, m.until, $3) AS e ON true
WHERE m.until > m.after
ORDER BY e.position

-- name: place
-- The place.
SELECT position FROM consumer WHERE name = $1

-- name: move
-- One step on, from where it was read.
UPDATE consumer SET position = $3 WHERE name = $1 AND position = $2 RETURNING position
