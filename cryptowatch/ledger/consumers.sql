-- name: begin
-- A consumer's place, before the first event.
INSERT INTO consumer (name, position) VALUES ($1, 0) ON CONFLICT (name) DO NOTHING

-- name: take
-- Moves the place by a portion, unless another transaction holds it, and reads what lies between; one row at least when it
-- moved. Written so that each row is reached by index, whatever the planner believes about sizes.
WITH held AS MATERIALIZED (
    SELECT c.position AS after, least(c.position + $3, head.position) AS until
    FROM consumer c
    CROSS JOIN LATERAL (SELECT coalesce(max(p.position), 0) AS position FROM event_position p OFFSET 0) AS head
    WHERE c.name = $1
    FOR NO KEY UPDATE OF c SKIP LOCKED
), moved AS (
    UPDATE consumer c SET position = held.until FROM held WHERE c.name = $1 AND held.until > held.after
    RETURNING held.after, held.until
)
SELECT m.after, m.until, told.*
FROM moved m
LEFT JOIN LATERAL (
    SELECT place.position, e.*
    FROM (SELECT p.position, p.event_id FROM event_position p
          WHERE p.position > m.after AND p.position <= m.until ORDER BY p.position LIMIT $3) AS place
    CROSS JOIN LATERAL (
        SELECT own.id, own.type, own.entity_kind, own.entity_id, own.entity_version, own.account_id, own.data,
               own.created_at
        FROM event own WHERE own.id = place.event_id OFFSET 0) AS e
    WHERE $2::text[] IS NULL OR e.type = ANY ($2)
) AS told ON true
ORDER BY told.position

-- name: place
-- The place.
SELECT position FROM consumer WHERE name = $1

-- name: move
-- One step on, from where it was read.
UPDATE consumer SET position = $3 WHERE name = $1 AND position = $2 RETURNING position
