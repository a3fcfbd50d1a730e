-- name: free_coins
-- The hot wallet's: confirmed deep enough, not reserved, not spent. The largest first, so that a bounded read can always pay.
SELECT c.resource, c.amount, c.destination, a.scheme, a.branch, a.key_index
FROM coin c JOIN address a USING (chain, destination)
WHERE c.chain = $1 AND c.height <= $2 AND c.mature_height <= $4 AND c.reserved_by IS NULL AND c.spent_by IS NULL
  AND a.branch < 2
ORDER BY c.amount DESC LIMIT $3

-- name: small_coins
-- The same that are worth spending, the smallest first.
SELECT c.resource, c.amount, c.destination, a.scheme, a.branch, a.key_index
FROM coin c JOIN address a USING (chain, destination)
WHERE c.chain = $1 AND c.height <= $2 AND c.mature_height <= $4 AND c.reserved_by IS NULL AND c.spent_by IS NULL
  AND a.branch < 2 AND c.amount >= $5
ORDER BY c.amount, c.resource LIMIT $3

-- name: cold_coins
-- The cold wallet's, final as any stranger's.
SELECT c.resource, c.amount, c.destination, a.scheme, a.branch, a.key_index, c.height
FROM coin c JOIN address a USING (chain, destination)
WHERE c.chain = $1 AND c.mature_height <= $3 AND c.height IS NOT NULL AND c.reserved_by IS NULL AND c.spent_by IS NULL
  AND a.branch >= 2
ORDER BY c.amount DESC LIMIT $2

-- name: reserve
-- Compare-and-set: every coin of the list, or the caller rolls back.
UPDATE coin SET reserved_by = $3
WHERE chain = $1 AND resource = ANY($2::bytea[]) AND reserved_by IS NULL AND spent_by IS NULL

-- name: take_change_addresses
-- The next addresses of our own for change.
UPDATE address SET assigned_at = $3
WHERE (chain, destination) IN (
    SELECT chain, destination FROM address
    WHERE chain = $1 AND scheme = $2 AND branch = 1 AND assigned_at IS NULL
    ORDER BY key_index LIMIT $4 FOR UPDATE SKIP LOCKED)
RETURNING destination, scheme, branch, key_index

-- name: payouts_since
-- Transactions to others that were begun since: ids begin with their time.
SELECT count(*) FROM lineage WHERE id >= $2 AND chain = $1 AND kind IN ('payout', 'overflow')

-- name: open_plans
-- The newest plan of each transaction on its way.
SELECT a.plan FROM lineage l JOIN attempt a ON a.lineage_id = l.id AND a.number = l.attempts
WHERE l.chain = $1 AND l.state = 'open'

-- name: coins_seen
-- Which of these coins were recorded before: unconfirmed, in an orphaned block, or at an earlier look.
SELECT resource FROM coin WHERE chain = $1 AND resource = ANY($2::bytea[])

-- name: find_coins_again
-- They get their height.
UPDATE coin c SET height = $2, mature_height = u.mature_height
FROM unnest($3::bytea[], $4::bigint[]) AS u (resource, mature_height)
WHERE c.chain = $1 AND c.resource = u.resource

-- name: spend_coins
-- Coins of ours that a block uses.
UPDATE coin c SET spent_by = u.tx_hash, spent_height = $2
FROM unnest($3::bytea[], $4::bytea[]) AS u (resource, tx_hash)
WHERE c.chain = $1 AND c.resource = u.resource
RETURNING c.reserved_by, u.tx_hash

-- name: note_lost_parents
-- Lineages that use an output of a transaction which lost one of its own inputs to another one in this block. The lowest
-- conflict counts: a higher one may be left, and what is dead already is never noted again.
UPDATE lineage l SET conflict = u.winner, conflict_height = $2, updated_at = $3
FROM unnest($4::bytea[], $5::bytea[]) AS u (loser, winner)
JOIN coin c ON c.chain = $1 AND c.resource BETWEEN u.loser || '\x00000000'::bytea AND u.loser || '\xffffffff'::bytea
WHERE l.id = c.reserved_by AND l.state = 'open' AND (l.conflict IS NULL OR l.conflict_height > $2)

-- name: free_coins_of
-- Coins reserved by lineages that ended, and not spent.
UPDATE coin SET reserved_by = NULL WHERE reserved_by = ANY($1::uuid[]) AND spent_by IS NULL

-- name: unspend_coins
-- Uses in blocks that are being left.
UPDATE coin SET spent_by = NULL, spent_height = NULL WHERE chain = $1 AND spent_height > $2

-- name: unconfirm_coins
-- Coins of blocks that are being left, once their uses are undone: nothing uses a coin below its own height.
UPDATE coin SET height = NULL, mature_height = NULL WHERE chain = $1 AND height > $2 AND spent_by IS NULL
