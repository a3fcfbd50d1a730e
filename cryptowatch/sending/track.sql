-- name: attempts_of
-- Which of these transactions are attempts of ours.
SELECT tx_hash, lineage_id, void FROM attempt WHERE chain = $1 AND tx_hash = ANY($2::bytea[])

-- name: confirm_lineage
-- A block holds one of its attempts.
UPDATE lineage SET state = 'confirmed', tx_hash = $2, block_height = $3, conflict = NULL, conflict_height = NULL,
    stuck = NULL, fee_paid = $5, outcomes = $6, version = version + 1, updated_at = $4
WHERE id = $1 AND state = 'open'
RETURNING version

-- name: is_dead
-- Whether the lineage was given up for proven dead.
SELECT state = 'dead' FROM lineage WHERE id = $1

-- name: note_conflict
-- A block holds a foreign use of one of its inputs.
UPDATE lineage SET conflict = $2, conflict_height = $3, updated_at = $4
WHERE id = $1 AND state = 'open' AND conflict IS NULL

-- name: siblings_of
-- The other attempts of these lineages: a block's choice of one is the end of what the others paid.
SELECT a.tx_hash, w.winner FROM unnest($1::uuid[], $2::bytea[]) AS w (lineage_id, winner)
JOIN attempt a ON a.lineage_id = w.lineage_id AND a.tx_hash <> w.winner

-- name: finalize_lineages
-- Deep enough to be final.
UPDATE lineage l SET state = 'finalized', version = version + 1, updated_at = $3
FROM attempt a
WHERE l.chain = $1 AND l.state = 'confirmed' AND l.block_height <= $2 AND a.chain = l.chain AND a.tx_hash = l.tx_hash
RETURNING l.id, l.version, l.kind, l.tx_hash, l.block_height, coalesce(l.fee_paid, a.fee) AS fee

-- name: void_larger
-- Attempts that pay more than the one that is final: what they pay beyond it is paid by others from now on.
UPDATE attempt a SET void = true FROM lineage l JOIN attempt w ON w.chain = l.chain AND w.tx_hash = l.tx_hash
WHERE l.id = ANY($1::uuid[]) AND a.lineage_id = l.id AND cardinality(a.positions) > cardinality(w.positions)

-- name: sweeps_told
-- How often a sweep became final: again only after a reorg that a person accepted.
SELECT count(*) FROM event WHERE entity_kind = 'sweep' AND entity_id = $1

-- name: swept_by
-- What a sweep took from deposit accounts, by asset.
SELECT m.asset, -sum(m.delta) AS amount, count(DISTINCT m.account) AS accounts
FROM movement m JOIN address a ON a.chain = m.chain AND a.destination = m.account
WHERE m.chain = $1 AND m.tx_hash = $2 AND m.delta < 0 AND a.branch = 0 GROUP BY m.asset ORDER BY m.asset

-- name: bury_lineages
-- Dead: a foreign use of one of our inputs is final, so that no attempt of the lineage can ever confirm.
UPDATE lineage SET state = 'dead', reason = 'conflict_finalized', version = version + 1, updated_at = $3
WHERE chain = $1 AND state = 'open' AND conflict_height <= $2
RETURNING id, version, conflict, conflict_height

-- name: attempts_of_lineages
-- Every attempt of lineages that are dead: what they paid us will not exist.
SELECT a.tx_hash, l.conflict FROM attempt a JOIN lineage l ON l.id = a.lineage_id WHERE l.id = ANY($1::uuid[])

-- name: reopen_lineages
-- Their block is being left: they are on their way again, and have waited for no block yet.
WITH reopened AS (
    UPDATE lineage SET state = 'open', tx_hash = NULL, block_height = NULL, fee_paid = NULL, outcomes = NULL,
        version = version + 1, updated_at = $3
    WHERE chain = $1 AND state IN ('confirmed', 'finalized') AND block_height > $2
    RETURNING id, version),
waiting AS (
    UPDATE attempt SET planned_height = greatest(planned_height, $4) WHERE lineage_id IN (SELECT id FROM reopened))
SELECT id, version FROM reopened

-- name: forget_conflicts
-- Foreign uses in blocks that are being left.
UPDATE lineage SET conflict = NULL, conflict_height = NULL WHERE chain = $1 AND conflict_height > $2 AND state <> 'dead'
