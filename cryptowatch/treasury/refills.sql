-- name: read_height
-- How far the chain is applied.
SELECT height FROM chain WHERE chain = $1

-- name: read_block
-- The block up to which the chain is applied.
SELECT height, hash FROM chain WHERE chain = $1

-- name: fresh_address
-- The next address of a branch of ours that was never used.
SELECT destination, address, key_index FROM address
WHERE chain = $1 AND scheme = $2 AND branch = $3 AND assigned_at IS NULL ORDER BY key_index LIMIT 1

-- name: take_addresses
-- Compare-and-set: each of them, or the caller rolls back.
UPDATE address SET assigned_at = $3 WHERE chain = $1 AND destination = ANY($2::bytea[]) AND assigned_at IS NULL

-- name: lock_proposed
-- One that waits for its signature, held.
SELECT * FROM rebalance
WHERE id = $1 AND direction = 'refill' AND state = 'proposed' AND expires_at > $2 FOR UPDATE
