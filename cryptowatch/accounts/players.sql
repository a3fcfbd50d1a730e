-- name: insert
-- A new player; no row when the external id is taken.
INSERT INTO account (id, external_id, metadata, created_at, updated_at)
VALUES ($1, $2, $3, $4, $4)
ON CONFLICT (external_id) DO NOTHING
RETURNING *

-- name: by_external_id
-- The player whom the platform calls so.
SELECT * FROM account WHERE external_id = $1

-- name: by_id
-- One player.
SELECT * FROM account WHERE id = $1

-- name: patch
-- What is NULL stays as it is; no row when there is no such player or nothing would change.
UPDATE account SET
    status = coalesce($2, status),
    kyc_level = coalesce($3, kyc_level),
    metadata = coalesce($4, metadata),
    limits = coalesce($6, limits),
    allow_list = coalesce($7, allow_list),
    version = version + 1,
    updated_at = $5
WHERE id = $1
  AND (status, kyc_level, metadata::text, limits::text, allow_list) IS DISTINCT FROM
      (coalesce($2, status), coalesce($3, kyc_level), coalesce($4, metadata)::text, coalesce($6, limits)::text,
       coalesce($7, allow_list))
RETURNING *

-- name: newest
-- A page of all players, newest first.
SELECT * FROM account WHERE $1::uuid IS NULL OR id < $1 ORDER BY id DESC LIMIT $2

-- name: newest_by_status
-- A page of the players of one status, newest first.
SELECT * FROM account WHERE status = $3 AND ($1::uuid IS NULL OR id < $1) ORDER BY id DESC LIMIT $2
