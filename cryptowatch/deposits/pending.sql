-- name: lock_height
-- Shared: blocks wait for what is being written here, and the other way round.
SELECT height, hash FROM chain WHERE chain = $1 FOR NO KEY UPDATE

-- name: unconfirmed
-- Transactions of deposits that no block holds.
SELECT DISTINCT tx_hash FROM deposit WHERE chain = $1 AND state IN ('detected', 'reversed', 'replaced', 'quarantined')
AND block_height IS NULL AND (state <> 'replaced' OR updated_at > $2)

-- name: lock_unconfirmed
-- Deposits of these transactions that no block holds.
SELECT d.*, a.address FROM deposit d JOIN address a USING (chain, destination)
WHERE d.chain = $1 AND d.tx_hash = ANY($2::bytea[]) AND d.block_height IS NULL
ORDER BY d.id FOR NO KEY UPDATE OF d

-- name: known_positions
-- Which deposits of these transactions are known.
SELECT tx_hash, position FROM deposit WHERE chain = $1 AND tx_hash = ANY($2::bytea[])

-- name: watched_resources
-- What unconfirmed deposits use.
SELECT resource, tx_hash FROM deposit_resource r WHERE chain = $1 AND EXISTS (
    SELECT FROM deposit d WHERE d.chain = $1 AND d.tx_hash = r.tx_hash AND d.state IN ('detected', 'reversed'))
LIMIT $2

-- name: warn
-- A pending transaction uses the same input.
UPDATE deposit d SET conflict = u.conflict
FROM unnest($2::bytea[], $3::bytea[]) AS u (tx_hash, conflict)
WHERE d.chain = $1 AND d.tx_hash = u.tx_hash AND d.block_height IS NULL AND d.conflict IS DISTINCT FROM u.conflict
