-- name: halt
-- Stops payouts, once.
UPDATE chain SET halted = $2, halted_at = $3, version = version + 1, updated_at = $3
WHERE chain = $1 AND halted IS NULL RETURNING version, height

-- name: resume
-- A person lets payouts go on.
UPDATE chain SET halted = NULL, halted_at = NULL, version = version + 1, updated_at = $2::timestamptz,
    reorg_accepted_at = CASE WHEN $3::boolean THEN $2::timestamptz END
WHERE chain = $1 AND halted IS NOT NULL RETURNING version, height

-- name: forget_acceptance
-- The reorg that a person accepted did not come to pass.
UPDATE chain SET reorg_accepted_at = NULL WHERE chain = $1
