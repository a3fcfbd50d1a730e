-- name: free_coins
-- Confirmed deep enough, not reserved, not spent. The largest first, so that a bounded read can always pay.
SELECT c.resource, c.amount, c.destination, a.scheme, a.branch, a.key_index
FROM coin c JOIN address a USING (chain, destination)
WHERE c.chain = $1 AND c.height <= $2 AND c.mature_height <= $4 AND c.reserved_by IS NULL AND c.spent_by IS NULL
ORDER BY c.amount DESC LIMIT $3

-- name: reserve
-- Compare-and-set: every coin of the list, or the caller rolls back.
UPDATE coin SET reserved_by = $3
WHERE chain = $1 AND resource = ANY($2::bytea[]) AND reserved_by IS NULL AND spent_by IS NULL

-- name: take_change_address
-- The next address of our own for change.
UPDATE address SET assigned_at = $3
WHERE (chain, destination) = (
    SELECT chain, destination FROM address
    WHERE chain = $1 AND scheme = $2 AND branch = 1 AND assigned_at IS NULL
    ORDER BY key_index LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING destination, scheme, branch, key_index

-- name: chain_for_sending
-- Shared lock: a halt waits for what is being planned, and nothing is planned after it (P6). A reorg that a person
-- accepted and the watcher has not followed yet halts as well: coins may be about to go.
SELECT height, coalesce(halted, CASE WHEN reorg_accepted_at IS NOT NULL THEN 'an accepted reorg is to be followed' END)
    AS halted
FROM chain WHERE chain = $1 FOR SHARE

-- name: insert_lineage
-- A new transaction's life begins.
INSERT INTO lineage (id, chain, state, attempts, priority, created_at, updated_at)
VALUES ($1, $2, 'open', 1, $3, $4, $4)

-- name: insert_attempt
-- An attempt, signed or yet to be.
INSERT INTO attempt (lineage_id, number, chain, tx_hash, plan, raw, fee, vsize, positions, planned_height, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
