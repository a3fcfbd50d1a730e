-- name: begin
-- A consumer's place, before the first event.
INSERT INTO consumer (name, position) VALUES ($1, 0) ON CONFLICT (name) DO NOTHING

-- name: take
-- Moves the place by a portion, unless another transaction holds it; no row where nothing is new.
WITH held AS MATERIALIZED (
    SELECT c.position AS after, least(c.position + $2, head.position) AS until
    FROM consumer c
    CROSS JOIN LATERAL (SELECT coalesce(max(p.position), 0) AS position FROM event_position p OFFSET 0) AS head
    WHERE c.name = $1
    FOR NO KEY UPDATE OF c SKIP LOCKED
)
UPDATE consumer c SET position = held.until FROM held WHERE c.name = $1 AND held.until > held.after
RETURNING held.after, held.until

-- name: place
-- The place.
SELECT position FROM consumer WHERE name = $1

-- name: move
-- One step on, from where it was read.
UPDATE consumer SET position = $3 WHERE name = $1 AND position = $2 RETURNING position
