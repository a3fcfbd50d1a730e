-- name: read_chain
-- The cursor and whether payouts are halted.
SELECT height, hash, halted, reorg_accepted_at, rescans, final_height FROM chain WHERE chain = $1

-- name: lock_chain
-- The same, held until the transaction ends.
SELECT height, hash, halted, reorg_accepted_at, rescans, final_height FROM chain WHERE chain = $1
FOR NO KEY UPDATE

-- name: start_chain
-- The first cursor; a second start changes nothing.
INSERT INTO chain (chain, asset, height, hash, updated_at) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING

-- name: insert_block
-- A block of the chain that we follow.
INSERT INTO block (chain, height, hash, prev_hash, time) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING

-- name: block_at
-- The block that we applied at a height.
SELECT height, hash, prev_hash, time FROM block WHERE chain = $1 AND height = $2

-- name: reorged
-- Counts a reorg's event and uses up a person's acceptance.
UPDATE chain SET version = version + 1, reorg_accepted_at = NULL WHERE chain = $1 RETURNING version

-- name: node_changed
-- A node's new state, if it is new.
INSERT INTO node (chain, name, state, version, updated_at) VALUES ($1, $2, $3, 1, $4)
ON CONFLICT (chain, name) DO UPDATE SET state = excluded.state, version = node.version + 1, updated_at = $4
WHERE node.state <> excluded.state
RETURNING version
