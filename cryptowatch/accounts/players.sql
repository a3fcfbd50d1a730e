-- name: insert
-- A new player; no row when the external id is taken.
INSERT INTO account (id, external_id, metadata, created_at, updated_at, jurisdiction, tags)
VALUES ($1, $2, $3, $4, $4, $5, $6)
ON CONFLICT (external_id) DO NOTHING
RETURNING *

-- name: by_external_id
-- The player whom the platform calls so.
SELECT * FROM account WHERE external_id = $1

-- name: by_id
-- One player.
SELECT * FROM account WHERE id = $1

-- name: hold
-- One player, nobody else's until the transaction ends.
SELECT * FROM account WHERE id = $1 FOR NO KEY UPDATE

-- name: by_ids
-- Several players.
SELECT * FROM account WHERE id = ANY ($1)

-- name: patch
-- What is NULL stays as it is, but for the limits on play; no row when nothing would change.
UPDATE account SET
    status = coalesce($2, status),
    kyc_level = coalesce($3, kyc_level),
    metadata = coalesce($4, metadata),
    limits = coalesce($6, limits),
    allow_list = coalesce($7, allow_list),
    jurisdiction = coalesce($8, jurisdiction),
    tags = coalesce($9, tags),
    play_limits = $10,
    next_play_limits = $11,
    next_play_limits_at = $12,
    deposit_limited = $13,
    version = version + 1,
    updated_at = $5
WHERE id = $1
  AND (status, kyc_level, metadata::text, limits::text, allow_list, jurisdiction, tags, play_limits::text,
       next_play_limits::text, next_play_limits_at) IS DISTINCT FROM
      (coalesce($2, status), coalesce($3, kyc_level), coalesce($4, metadata)::text, coalesce($6, limits)::text,
       coalesce($7, allow_list), coalesce($8, jurisdiction), coalesce($9, tags), $10::json::text, $11::json::text,
       $12::timestamptz)
RETURNING *

-- name: begin_self_exclusion
-- Whatever it was before, but frozen, it is excluded.
UPDATE account SET status = CASE status WHEN 'frozen' THEN status ELSE 'self_excluded' END, excluded_until = $2,
    version = version + 1, updated_at = $3
WHERE id = $1 RETURNING *

-- name: begin_cooling_off
-- It cannot bet until then.
UPDATE account SET cooling_off_until = $2, version = version + 1, updated_at = $3 WHERE id = $1 RETURNING *

-- name: newest
-- A page of all players, newest first.
SELECT * FROM account WHERE $1::uuid IS NULL OR id < $1 ORDER BY id DESC LIMIT $2

-- name: newest_by_status
-- A page of the players of one status, newest first.
SELECT * FROM account WHERE status = $3 AND ($1::uuid IS NULL OR id < $1) ORDER BY id DESC LIMIT $2
