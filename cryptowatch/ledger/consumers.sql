-- name: begin
-- A consumer's place, before the first event.
INSERT INTO consumer (name, position) VALUES ($1, 0) ON CONFLICT (name) DO NOTHING

-- name: hold
-- The place, unless another transaction holds it.
SELECT position FROM consumer WHERE name = $1 FOR NO KEY UPDATE SKIP LOCKED

-- name: place
-- The place.
SELECT position FROM consumer WHERE name = $1

-- name: move
-- One step on, from where it was read.
UPDATE consumer SET position = $3 WHERE name = $1 AND position = $2 RETURNING position
