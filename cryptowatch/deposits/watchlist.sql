-- name: destinations_beyond
-- Derivation locks its counter until it commits, so a branch's indexes become visible in order.
SELECT destination, scheme, branch, key_index FROM address
WHERE chain = $1 AND scheme = $2 AND branch = $3 AND key_index >= $4 ORDER BY key_index

-- name: branches
-- How far each branch is derived.
SELECT scheme, branch, next_index FROM derivation WHERE chain = $1

-- name: unspent_resources
-- Our coins, and change that may become one.
SELECT c.resource FROM coin c WHERE c.chain = $1 AND c.spent_by IS NULL AND (c.height IS NOT NULL OR NOT EXISTS (
    SELECT FROM lost_change o WHERE o.chain = c.chain AND o.resource = c.resource))

-- name: unconfirmed_resources
-- Inputs of deposits that no block holds.
SELECT r.resource FROM deposit_resource r WHERE r.chain = $1 AND EXISTS (
    SELECT FROM deposit d WHERE d.chain = $1 AND d.tx_hash = r.tx_hash AND d.block_height IS NULL)
