-- name: chain_for_sending
-- Shared lock: a halt waits for what is being planned, and nothing is planned after it (P6). A reorg that a person
-- accepted and the watcher has not followed yet halts as well: coins may be about to go.
SELECT height, coalesce(halted, CASE WHEN reorg_accepted_at IS NOT NULL THEN 'an accepted reorg is to be followed' END)
    AS halted, stopped_assets
FROM chain WHERE chain = $1 FOR SHARE

-- name: insert_lineage
-- A new transaction's life begins.
INSERT INTO lineage (id, chain, kind, state, attempts, priority, created_at, updated_at, subject, asset)
VALUES ($1, $2, $3, 'open', 1, $4, $5, $5, $6, $7)

-- name: insert_attempt
-- An attempt, signed or yet to be.
INSERT INTO attempt (lineage_id, number, chain, tx_hash, plan, raw, fee, size, positions, planned_height, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)

-- name: insert_change
-- What of an attempt returns to the wallet.
INSERT INTO attempt_change (chain, resource, amount, destination, lineage_id, number) VALUES ($1, $2, $3, $4, $5, $6)
