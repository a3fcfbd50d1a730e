-- name: advance_cursor
-- Compare-and-set: only who knows the chain's present block may append to it.
UPDATE chain SET height = $2, hash = $3, updated_at = $6
WHERE chain = $1 AND height = $4 AND hash = $5

-- name: note_final
-- What is final stays final; -1: nothing yet.
UPDATE chain SET final_height = coalesce(greatest(final_height, $2::bigint), -1) WHERE chain = $1
RETURNING final_height

-- name: insert_block
-- A block of the chain that we follow.
INSERT INTO block (chain, height, hash, prev_hash, time) VALUES ($1, $2, $3, $4, $5)

-- name: count_rescan
-- Watchers read their lists anew.
UPDATE chain SET rescans = rescans + 1 WHERE chain = $1

-- name: forget_old_blocks
-- Blocks too deep for any reorg that is followed.
DELETE FROM block WHERE chain = $1 AND height < $2

-- name: lock_deposits_of_transactions
-- Deposits of these transactions, in whatever state.
SELECT d.*, a.address FROM deposit d JOIN address a USING (chain, destination)
WHERE d.chain = $1 AND d.tx_hash = ANY($2::bytea[])
ORDER BY d.id FOR NO KEY UPDATE OF d

-- name: lock_due_deposits
-- Deposits that reach a threshold at this height.
SELECT d.*, a.address FROM deposit d JOIN address a USING (chain, destination)
WHERE d.chain = $1 AND d.due_height <= $2
  -- A credited one is due for finality: not before the nodes call its block final, where they do.
  AND (d.state <> 'credited' OR $3::bigint IS NULL OR d.block_height <= $3)
ORDER BY d.id FOR NO KEY UPDATE OF d

-- name: lock_orphaned_deposits
-- Deposits in blocks that are being left, up to the head: without that bound Postgres counts those of every chain with
-- higher blocks. What waits for a threshold is due no earlier than in its block.
SELECT d.*, a.address FROM deposit d JOIN address a USING (chain, destination)
WHERE d.chain = $1 AND d.block_height > $2 AND d.block_height <= $3 AND (d.due_height > $2 OR d.due_height IS NULL)
ORDER BY d.id FOR NO KEY UPDATE OF d

-- name: finalized_above
-- Whether leaving the blocks above a height would undo something final.
SELECT EXISTS (
        SELECT FROM deposit
        WHERE chain = $1 AND block_height > $2 AND block_height <= $3 AND due_height IS NULL AND state = 'finalized')
    OR EXISTS (SELECT FROM lineage WHERE chain = $1 AND block_height > $2 AND state = 'finalized')

-- name: losers_of_resources
-- Unconfirmed deposits of another transaction than the one that now used their input in a block.
SELECT DISTINCT ON (r.tx_hash) r.tx_hash, used.tx_hash AS winner
FROM unnest($2::bytea[], $3::bytea[]) AS used (resource, tx_hash)
JOIN deposit_resource r ON r.chain = $1 AND r.resource = used.resource AND r.tx_hash <> used.tx_hash

-- name: name_winners
-- Which transaction was mined instead.
UPDATE deposit d SET conflict = u.winner
FROM unnest($2::bytea[], $3::bytea[]) AS u (tx_hash, winner)
WHERE d.chain = $1 AND d.tx_hash = u.tx_hash AND d.block_height IS NULL

-- name: forget_old_resources
-- Inputs of deposits in a block that no reorg reaches, not even one that a person accepts.
DELETE FROM deposit_resource r USING deposit d
WHERE d.chain = $1 AND d.block_height = $2 AND (d.due_height >= $2 OR d.due_height IS NULL)
  AND r.chain = $1 AND r.tx_hash = d.tx_hash

-- name: rewind_cursor
-- Compare-and-set back to the fork. What was called final above it was said of the branch that is left.
UPDATE chain SET height = $2, hash = $3, updated_at = $6,
    final_height = CASE WHEN final_height > $2 THEN $2 ELSE final_height END
WHERE chain = $1 AND height = $4 AND hash = $5

-- name: delete_blocks_above
-- The blocks of the branch that is being left.
DELETE FROM block WHERE chain = $1 AND height > $2
