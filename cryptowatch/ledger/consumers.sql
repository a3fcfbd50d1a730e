-- name: begin
-- A consumer's place, before the first event.
INSERT INTO consumer (name, position) VALUES ($1, 0) ON CONFLICT (name) DO NOTHING

-- name: take
-- Moves the place by a portion, unless another transaction holds it, and reads the portion's events of some types: one row
-- for each, one without an event where there are none; no row where nothing is new. By position and id one after the
-- other, so that no plan reads more of the feed than the portion.
WITH held AS MATERIALIZED (
    SELECT c.position AS after, least(c.position + $2, head.position) AS until
    FROM consumer c
    CROSS JOIN LATERAL (SELECT coalesce(max(p.position), 0) AS position FROM event_position p OFFSET 0) AS head
    WHERE c.name = $1
    FOR NO KEY UPDATE OF c SKIP LOCKED
), moved AS (
    UPDATE consumer c SET position = held.until FROM held WHERE c.name = $1 AND held.until > held.after
    RETURNING held.after, held.until
)
SELECT m.after, m.until, e.*
FROM moved m
LEFT JOIN LATERAL (
    SELECT p.position, told.*
    FROM event_position p
    CROSS JOIN LATERAL (
        SELECT e.id, e.type, e.entity_kind, e.entity_id, e.entity_version, e.account_id, e.data, e.created_at
        FROM event e WHERE e.id = p.event_id OFFSET 0) AS told
    WHERE p.position > m.after AND p.position <= m.until AND ($3::text[] IS NULL OR told.type = ANY ($3))
) AS e ON true
ORDER BY e.position

-- name: look
-- The portion that comes next, as `take` gives it, without moving or holding the place.
SELECT m.after, m.until, e.*
FROM (SELECT own.after, least(own.after + $2, head.position) AS until
      FROM (SELECT coalesce(max(c.position), 0) AS after FROM consumer c WHERE c.name = $1) AS own
      CROSS JOIN LATERAL (SELECT coalesce(max(p.position), 0) AS position FROM event_position p OFFSET 0) AS head) AS m
LEFT JOIN LATERAL (
    SELECT p.position, told.*
    FROM event_position p
    CROSS JOIN LATERAL (
        SELECT e.id, e.type, e.entity_kind, e.entity_id, e.entity_version, e.account_id, e.data, e.created_at
        FROM event e WHERE e.id = p.event_id OFFSET 0) AS told
    WHERE p.position > m.after AND p.position <= m.until AND ($3::text[] IS NULL OR told.type = ANY ($3))
) AS e ON true
WHERE m.until > m.after
ORDER BY e.position

-- name: place
-- The place.
SELECT position FROM consumer WHERE name = $1

-- name: move
-- One step on, from where it was read.
UPDATE consumer SET position = $3 WHERE name = $1 AND position = $2 RETURNING position
