-- name: read_height
-- How far the chain is applied.
SELECT height FROM chain WHERE chain = $1

-- name: gaps
-- Accounts with a nonce that nobody uses below one that is on its way: what comes after it waits. Cold ones are not ours to
-- send from.
SELECT DISTINCT n.account FROM nonce n JOIN address a ON a.chain = n.chain AND a.destination = n.account
WHERE n.chain = $1 AND a.branch < 2 AND n.reserved_by IS NULL AND n.spent_by IS NULL AND EXISTS (
    SELECT FROM nonce later JOIN lineage l ON l.id = later.reserved_by
    WHERE later.chain = n.chain AND later.account = n.account AND later.nonce > n.nonce AND l.state = 'open')

-- name: was_set_up
-- Whether something is set up, or about to be, or was refused by its token lately.
SELECT EXISTS (SELECT FROM lineage WHERE chain = $1 AND kind = 'setup' AND subject = $2 AND state <> 'dead'
    AND (outcomes IS NULL OR array_position(outcomes, NULL) IS NULL OR created_at > $3))

-- name: low_on_gas
-- Sending accounts but the vault that have less of the chain's own coin than they should, and none on its way.
SELECT s.account FROM sender s JOIN address a ON a.chain = s.chain AND a.destination = s.account
LEFT JOIN holding h ON h.chain = s.chain AND h.account = s.account AND h.asset = $2
WHERE s.chain = $1 AND a.branch = 1 AND a.key_index > 0 AND coalesce(h.amount, 0) < $3 AND NOT EXISTS (
    SELECT FROM lineage l WHERE l.chain = $1 AND l.kind = 'refill' AND l.subject = encode(s.account, 'hex')
      AND l.state = 'open')

-- name: sweepable
-- Deposit accounts with enough of an asset, of which nothing is on its way; the richest first. One that a sweep took
-- nothing from lately waits: whatever keeps its money there would cost gas in every round.
SELECT h.account, h.amount, a.scheme, a.branch, a.key_index,
    EXISTS (SELECT FROM movement m WHERE m.chain = h.chain AND m.account = h.account AND m.delta < 0) AS delegated
FROM holding h JOIN address a ON a.chain = h.chain AND a.destination = h.account
WHERE h.chain = $1 AND h.asset = $2 AND h.amount >= $3 AND h.amount > 0 AND a.branch = 0 AND NOT EXISTS (
    SELECT FROM reservation r JOIN lineage l ON l.id = r.lineage_id
    WHERE r.chain = h.chain AND r.account = h.account AND r.asset = h.asset AND l.state = 'open')
  AND NOT EXISTS (
    SELECT FROM reservation r JOIN lineage l ON l.id = r.lineage_id
    WHERE r.chain = h.chain AND r.account = h.account AND r.asset = h.asset AND l.kind = 'sweep'
      AND l.state IN ('confirmed', 'finalized') AND l.created_at > $5 AND NOT EXISTS (
        SELECT FROM movement m WHERE m.chain = l.chain AND m.tx_hash = l.tx_hash
          AND m.account = h.account AND m.asset = h.asset AND m.delta < 0))
ORDER BY h.amount DESC LIMIT $4

-- name: gas_of
-- What an account has of the chain's own coin, and whether a refill is on its way to it.
SELECT coalesce((SELECT amount FROM holding WHERE chain = $1 AND account = $2 AND asset = $3), 0) AS amount,
    EXISTS (SELECT FROM lineage WHERE chain = $1 AND kind = 'refill' AND subject = encode($2, 'hex') AND state = 'open')
        AS coming
