-- name: begin
-- A movement to be made; nothing comes back where one is open already.
INSERT INTO rebalance (id, chain, asset, direction, amount, state, requested_by, version, created_at, updated_at,
    expires_at)
VALUES ($1, $2, $3, $4, $5, 'requested', $6, 1, $7, $7, $8)
ON CONFLICT (chain, asset) WHERE state IN ('requested', 'proposed', 'signed', 'broadcast') DO NOTHING
RETURNING *

-- name: read_height
-- How far the chain is applied.
SELECT height FROM chain WHERE chain = $1

-- name: lock_requested
-- One that is still to be prepared, held.
SELECT * FROM rebalance WHERE id = $1 AND state = 'requested' FOR UPDATE

-- name: requested
-- Those that are to be prepared.
SELECT * FROM rebalance WHERE chain = $1 AND state = 'requested' ORDER BY id

-- name: bind
-- Compare-and-set into a transaction of ours.
UPDATE rebalance SET state = $2, lineage_id = $3, address = coalesce($4, address), version = version + 1, updated_at = $5
WHERE id = $1 AND state = $6 RETURNING *

-- name: propose
-- Compare-and-set: what cold is to sign.
UPDATE rebalance r SET state = 'proposed', plan = $2, artefact = $3, address = $4, version = r.version + 1,
    updated_at = $5, proposed_height = c.height
FROM chain c WHERE c.chain = r.chain AND r.id = $1 AND r.state = 'requested' RETURNING r.*

-- name: end
-- Compare-and-set from one of these states into an end without a transaction.
UPDATE rebalance SET state = $2, reason = $3, version = version + 1, updated_at = $4
WHERE id = $1 AND state = ANY($5::text[]) AND lineage_id IS NULL RETURNING *

-- name: expired
-- What nobody signed, or no coins covered, in time.
SELECT id, asset FROM rebalance
WHERE chain = $1 AND lineage_id IS NULL AND state IN ('requested', 'proposed') AND expires_at <= $2

-- name: follow
-- What its transaction has come to, one step further: only what is true of the lineage now.
UPDATE rebalance r SET state = $3, reason = CASE $3 WHEN 'failed' THEN coalesce(l.reason, 'payment_failed') END,
    version = r.version + 1, updated_at = $4
FROM lineage l
WHERE l.id = r.lineage_id AND r.chain = $1 AND r.state = $2 AND CASE $3
    WHEN 'signed' THEN l.state IN ('confirmed', 'finalized')
        OR EXISTS (SELECT FROM attempt a WHERE a.lineage_id = l.id AND a.raw IS NOT NULL)
    WHEN 'broadcast' THEN l.state IN ('confirmed', 'finalized')
        OR EXISTS (SELECT FROM attempt a WHERE a.lineage_id = l.id AND a.broadcast_at IS NOT NULL)
    -- A payment that failed in its transaction moved nothing.
    WHEN 'finalized' THEN l.state = 'finalized' AND array_position(l.outcomes, NULL) IS NULL
    WHEN 'failed' THEN l.state = 'dead' OR (l.state = 'finalized' AND array_position(l.outcomes, NULL) IS NOT NULL)
    ELSE false END
RETURNING r.*

-- name: seen_for_good
-- Refills out of contracts whose very amount went from a cold account to the vault, in a block that is final.
UPDATE rebalance r SET state = 'finalized', seen_tx_hash = s.tx_hash, version = r.version + 1, updated_at = $3
FROM (
    SELECT DISTINCT ON (p.id) p.id, o.tx_hash
    FROM rebalance p JOIN chain c ON c.chain = p.chain
    JOIN movement o ON o.chain = p.chain AND o.asset = p.asset AND o.delta = -p.amount AND o.height > p.proposed_height
        AND o.height <= least(c.height - $2::bigint + 1, c.final_height)
    JOIN address cold ON cold.chain = o.chain AND cold.destination = o.account AND cold.branch = 2
    JOIN movement i ON i.chain = o.chain AND i.tx_hash = o.tx_hash AND i.asset = o.asset AND i.delta = p.amount
    JOIN address vault ON vault.chain = i.chain AND vault.destination = i.account
        AND vault.branch = 1 AND vault.key_index = 0
    WHERE p.chain = $1 AND p.state = 'proposed' AND p.direction = 'refill' AND p.plan IS NULL
    ORDER BY p.id, o.height) AS s
WHERE r.id = s.id AND r.state = 'proposed'
RETURNING r.*

-- name: fee_of
-- What the network took for a transaction that is final.
SELECT coalesce(l.fee_paid, a.fee) AS fee, c.asset FROM lineage l
JOIN attempt a ON a.chain = l.chain AND a.tx_hash = l.tx_hash JOIN chain c ON c.chain = l.chain
WHERE l.id = $1

-- name: by_id
-- One, with its transaction.
SELECT r.*, l.tx_hash FROM rebalance r LEFT JOIN lineage l ON l.id = r.lineage_id WHERE r.id = $1

-- name: newest
-- A page, newest first; the filters leave rows out.
SELECT r.*, l.tx_hash FROM rebalance r LEFT JOIN lineage l ON l.id = r.lineage_id
WHERE ($1::uuid IS NULL OR r.id < $1) AND ($3::text IS NULL OR r.chain = $3) AND ($4::text IS NULL OR r.state = $4)
ORDER BY r.id DESC LIMIT $2

-- name: rests
-- Whether one is open, or came to nothing lately.
SELECT EXISTS (SELECT FROM rebalance WHERE chain = $1 AND asset = $2
    AND (state IN ('requested', 'proposed', 'signed', 'broadcast')
         OR (state IN ('failed', 'canceled', 'expired') AND updated_at > $3)))

-- name: within_hour
-- At least what the signer may still count as gone to cold since a time: it signed before each one's last step.
SELECT coalesce(sum(amount), 0) FROM rebalance
WHERE chain = $1 AND asset = $2 AND direction = 'overflow' AND lineage_id IS NOT NULL
  AND (state NOT IN ('finalized', 'failed') OR updated_at > $3)

-- name: cold_account
-- The cold account that receives.
SELECT destination, address, key_index FROM address WHERE chain = $1 AND branch = 2 AND destination = $2

-- name: cold_address
-- The cold wallet's next address that was never used.
UPDATE address SET assigned_at = $2
WHERE (chain, destination) = (
    SELECT chain, destination FROM address WHERE chain = $1 AND branch = 2 AND assigned_at IS NULL
    ORDER BY key_index LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING destination, address, key_index

-- name: outflow
-- Final payouts less final deposits, of those that began after an id: ids are in the order of time.
SELECT (SELECT coalesce(sum(amount), 0) FROM withdrawal
        WHERE id > $3 AND chain = $1 AND asset = $2 AND state = 'finalized')
     - (SELECT coalesce(sum(amount), 0) FROM deposit
        WHERE id > $3 AND chain = $1 AND asset = $2 AND state = 'finalized')
