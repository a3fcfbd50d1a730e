-- name: unsigned_attempts
-- Attempts that wait for the signer.
SELECT a.lineage_id, a.number, a.plan, a.tx_hash, l.kind, l.asset
FROM attempt a JOIN lineage l ON l.id = a.lineage_id JOIN chain c ON c.chain = l.chain
WHERE l.chain = $1 AND l.state = 'open' AND a.raw IS NULL
  AND (l.asset IS NULL OR l.asset <> ALL(c.stopped_assets))
ORDER BY a.lineage_id LIMIT $2

-- name: lock_open_lineage
-- Storing a signature and giving a lineage up both lock it first, so only one of them happens.
SELECT attempts, version FROM lineage WHERE id = $1 AND state = 'open' FOR UPDATE

-- name: store_signed
-- The signed bytes, once.
UPDATE attempt SET raw = $3, tx_hash = $4 WHERE lineage_id = $1 AND number = $2 AND raw IS NULL

-- name: any_signed
-- Whether any attempt of the lineage was ever signed.
SELECT EXISTS (SELECT FROM attempt WHERE lineage_id = $1 AND raw IS NOT NULL)

-- name: give_up
-- A lineage of which nothing was signed.
UPDATE lineage SET state = 'dead', reason = $2, version = version + 1, updated_at = $3 WHERE id = $1
RETURNING version

-- name: forget_unsigned
-- The plans of a lineage that was given up before anything was signed.
DELETE FROM attempt WHERE lineage_id = $1 AND raw IS NULL

-- name: open_signed
-- The newest signed attempt of each lineage that no block holds, and that may be sent; of a stopped asset, where a node has one already.
SELECT s.* FROM (
    SELECT DISTINCT ON (a.lineage_id) a.lineage_id, a.number, a.tx_hash, a.raw, a.plan, a.fee, a.size,
        a.planned_height, a.broadcast_at, a.taken_at, l.attempts, l.priority, l.created_at, l.asset, l.kind, l.stuck,
        f.fee AS first_fee, f.size AS first_size
    FROM attempt a JOIN attempt f ON f.lineage_id = a.lineage_id AND f.number = 1
    JOIN lineage l ON l.id = a.lineage_id JOIN chain c ON c.chain = l.chain
    WHERE l.chain = $1 AND l.state = 'open' AND a.raw IS NOT NULL AND NOT a.void
      AND (l.asset IS NULL OR l.asset <> ALL(c.stopped_assets)
           OR EXISTS (SELECT FROM attempt b WHERE b.lineage_id = l.id AND b.broadcast_at IS NOT NULL))
    ORDER BY a.lineage_id, a.number DESC) AS s
-- Nonces in their order, so that no node has to keep one for later.
LEFT JOIN nonce n ON n.reserved_by = s.lineage_id
ORDER BY n.account, n.nonce, s.lineage_id

-- name: held_up
-- What stands behind a nonce of its account that no node has: given up, not signed, or of a stopped asset.
WITH missing AS (
    SELECT account, nonce FROM nonce WHERE chain = $1 AND reserved_by IS NULL AND spent_by IS NULL
    UNION ALL
    SELECT n.account, n.nonce FROM lineage l JOIN nonce n ON n.reserved_by = l.id
    WHERE l.chain = $1 AND l.state = 'open' AND n.spent_by IS NULL AND NOT EXISTS (
        SELECT FROM attempt a WHERE a.lineage_id = l.id AND a.broadcast_at IS NOT NULL))
SELECT n.reserved_by AS lineage_id FROM lineage l JOIN nonce n ON n.reserved_by = l.id
JOIN (SELECT account, min(nonce) AS nonce FROM missing GROUP BY account) AS m
    ON m.account = n.account AND m.nonce < n.nonce
WHERE l.chain = $1 AND l.state = 'open'

-- name: mark_broadcast
-- The first time that a node took it.
UPDATE attempt SET broadcast_at = $3 WHERE lineage_id = $1 AND number = $2 AND broadcast_at IS NULL

-- name: mark_taken
-- The first time that a quorum of nodes had it.
UPDATE attempt SET taken_at = $3 WHERE lineage_id = $1 AND number = $2 AND taken_at IS NULL

-- name: next_version
-- For the next event of the lineage.
UPDATE lineage SET version = version + 1, updated_at = $2 WHERE id = $1 RETURNING version

-- name: add_attempt
-- A replacement joins the lineage.
UPDATE lineage SET attempts = attempts + 1, stuck = NULL, version = version + 1, updated_at = $2 WHERE id = $1 RETURNING version

-- name: clear_stuck
-- It is being raised after all, by who spends its change.
UPDATE lineage SET stuck = NULL, version = version + 1, updated_at = $2
WHERE id = $1 AND state = 'open' AND stuck IS NOT NULL
RETURNING version

-- name: note_stuck
-- Once, until it moves.
UPDATE lineage SET stuck = $2, version = version + 1, updated_at = $3
WHERE id = $1 AND state = 'open' AND stuck IS NULL AND attempts = $4
RETURNING version

-- name: chain_state
-- The height, and whether payouts are halted (see chain_for_sending).
SELECT height, halted IS NOT NULL OR reorg_accepted_at IS NOT NULL AS halted FROM chain WHERE chain = $1
