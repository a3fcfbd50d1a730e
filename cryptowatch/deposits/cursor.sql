-- name: read_chain
-- The cursor and whether payouts are halted.
SELECT height, hash, halted, reorg_accepted_at, version FROM chain WHERE chain = $1

-- name: start_chain
-- The first cursor; a second start changes nothing.
INSERT INTO chain (chain, asset, height, hash, updated_at) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING

-- name: insert_block
-- A block of the chain that we follow.
INSERT INTO block (chain, height, hash, prev_hash, time) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING

-- name: block_at
-- The block that we applied at a height.
SELECT height, hash, prev_hash, time FROM block WHERE chain = $1 AND height = $2

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

-- name: reorged
-- Counts a reorg's event and uses up a person's acceptance.
UPDATE chain SET version = version + 1, reorg_accepted_at = NULL WHERE chain = $1 RETURNING version

-- name: node_changed
-- A node's new state, if it is new.
INSERT INTO node (chain, name, state, version, updated_at) VALUES ($1, $2, $3, 1, $4)
ON CONFLICT (chain, name) DO UPDATE SET state = excluded.state, version = node.version + 1, updated_at = $4
WHERE node.state <> excluded.state
RETURNING version
