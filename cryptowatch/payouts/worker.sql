-- name: waiting
-- The oldest, enough of each asset and priority to fill a batch: those that wait for cheaper fees hide nobody, nor does
-- what the money did not cover (asset, amount) in this round. Those of stopped assets wait.
WITH free AS MATERIALIZED (
    SELECT asset, sum(amount) AS amount FROM (
        SELECT asset, amount FROM spendable WHERE chain = $1
        UNION ALL
        -- $5: change that no block holds counts, too.
        SELECT c.asset, p.amount FROM pending_change p JOIN chain c USING (chain) WHERE p.chain = $1 AND $5) AS all_free
    GROUP BY asset)
-- `behind`: beside the last of those, how many more there are.
SELECT id, priority, queued_at, created_at, amount, asset, alone, CASE turn WHEN $2 THEN total - turn ELSE 0 END AS behind
FROM (
    SELECT w.*, row_number() OVER (PARTITION BY w.asset, w.priority ORDER BY w.queued_at, w.id) AS turn,
        count(*) OVER (PARTITION BY w.asset, w.priority) AS total
    -- What all that is free could not pay waits, and stands in nobody's way.
    FROM withdrawal w JOIN free f ON f.asset = w.asset AND f.amount >= w.amount
    LEFT JOIN unnest($3::text[], $4::numeric[]) AS u (asset, amount) ON u.asset = w.asset
    WHERE w.chain = $1 AND w.state = 'queued' AND (u.amount IS NULL OR w.amount < u.amount)
      AND w.asset <> ALL((SELECT stopped_assets FROM chain WHERE chain = $1)::text[])) AS waiting
WHERE turn <= $2 ORDER BY asset, priority, turn

-- name: recipients
-- Whom the chosen ones pay, in the order of the list, and the block up to which the chain is applied.
SELECT w.id, w.asset, w.amount, w.destination, c.height, c.hash
FROM unnest($2::uuid[]) WITH ORDINALITY AS u (id, place)
JOIN withdrawal w ON w.id = u.id JOIN chain c ON c.chain = $1 ORDER BY u.place

-- name: claim
-- The chosen ones that nobody else holds, nor a case.
SELECT w.id, w.asset, w.amount, w.destination, w.address, w.priority FROM withdrawal w
WHERE w.id = ANY($1::uuid[]) AND w.state = 'queued'
  AND NOT EXISTS (SELECT FROM account_hold h WHERE h.account_id = w.account_id)
ORDER BY w.queued_at, w.id FOR NO KEY UPDATE OF w SKIP LOCKED

-- name: set_aside_denied
-- Claimed ones whose addresses came onto the deny list since they were requested.
UPDATE withdrawal w SET state = $2, reason = 'address_denied', version = w.version + 1, updated_at = $3
WHERE w.id = ANY ($1::uuid[]) AND w.state = 'queued'
RETURNING w.*

-- name: bind
-- Compare-and-set from the queue into a transaction.
UPDATE withdrawal w SET state = 'sending', lineage_id = $2, tx_hash = $3, position = u.position, batch_place = u.place,
    reason = NULL, version = version + 1, updated_at = $4
FROM unnest($1::uuid[], $5::integer[]) WITH ORDINALITY AS u (id, position, place)
WHERE w.id = u.id AND w.state = 'queued'
RETURNING w.*

-- name: chain_state
-- How far the chain is applied, and how many transactions are in flight, but for those whose fee is never raised: they
-- may stay so for days.
SELECT height, (
    SELECT count(*) FROM lineage
    WHERE chain = $1 AND state = 'open' AND kind NOT IN ('consolidation', 'cold_refill')) AS in_flight
FROM chain WHERE chain = $1

-- name: follow_lineages
-- Withdrawals whose lineage is in one of these states move on; each at most once, by its own state.
WITH picked AS MATERIALIZED (
    SELECT x.id FROM withdrawal x JOIN lineage y ON y.id = x.lineage_id
    WHERE x.chain = $1 AND x.state = $2 AND y.state = ANY($4::text[])
      -- A payment that failed in its transaction was never made, nor one that the attempt in the block does not make.
      AND (y.outcomes IS NULL OR y.outcomes[x.batch_place] IS NOT NULL)
      AND NOT EXISTS (SELECT FROM left_out o WHERE o.id = x.id)
    ORDER BY x.id LIMIT $6 FOR NO KEY UPDATE OF x SKIP LOCKED)
UPDATE withdrawal w SET state = $3, version = w.version + 1, updated_at = $5,
    tx_hash = coalesce(l.tx_hash, w.tx_hash),
    position = coalesce(l.outcomes[w.batch_place], a.positions[w.batch_place], w.position)
FROM picked, lineage l LEFT JOIN attempt a ON a.chain = l.chain AND a.tx_hash = l.tx_hash
WHERE w.id = picked.id AND l.id = w.lineage_id AND w.state = $2 AND l.state = ANY($4::text[])
RETURNING w.*, (SELECT min(a.broadcast_at) FROM attempt a WHERE a.lineage_id = w.lineage_id) AS broadcast_at

-- name: unbind_dead
-- Payouts of dead lineages go back to the queue.
UPDATE withdrawal w SET state = $2, version = w.version + 1, updated_at = $3, lineage_id = NULL, tx_hash = NULL,
    position = NULL, batch_place = NULL, reason = l.reason
FROM lineage l
WHERE l.id = w.lineage_id AND l.state = 'dead' AND w.chain = $1 AND w.state = 'sending'
  AND NOT l.reason LIKE 'signer_refused%'
RETURNING w.*

-- name: unbind_refused
-- Payouts of lineages that the signer refused: one alone goes to a person; in a batch each is tried again alone, so that
-- none waits for another's sake.
UPDATE withdrawal w SET state = CASE WHEN l.batch > 1 THEN $3 ELSE $2 END, alone = w.alone OR l.batch > 1,
    version = w.version + 1, updated_at = $4, lineage_id = NULL, tx_hash = NULL, position = NULL, batch_place = NULL,
    reason = l.reason
FROM (SELECT d.id, d.reason, (SELECT count(*) FROM withdrawal x WHERE x.lineage_id = d.id) AS batch FROM lineage d
      WHERE d.state = 'dead' AND d.reason LIKE 'signer_refused%' AND d.id IN (
          SELECT s.lineage_id FROM withdrawal s WHERE s.chain = $1 AND s.state = 'sending')) AS l
WHERE l.id = w.lineage_id AND w.chain = $1 AND w.state = 'sending'
RETURNING w.*

-- name: unbind_unpaid
-- Payments that failed in a transaction that is final: in a batch they are tried again alone, alone they end.
UPDATE withdrawal w SET state = CASE WHEN w.alone OR l.batch = 1 THEN $3 ELSE $2 END, reason = 'payment_failed',
    alone = true, version = w.version + 1, updated_at = $4,
    lineage_id = CASE WHEN w.alone OR l.batch = 1 THEN w.lineage_id END, tx_hash = CASE WHEN w.alone OR l.batch = 1 THEN w.tx_hash END,
    position = NULL, batch_place = NULL
FROM (SELECT id, outcomes, cardinality(outcomes) AS batch FROM lineage
      WHERE chain = $1 AND state = 'finalized' AND array_position(outcomes, NULL) IS NOT NULL) AS l
WHERE l.id = w.lineage_id AND w.chain = $1 AND w.state = 'sending' AND l.outcomes[w.batch_place] IS NULL
RETURNING w.*

-- name: by_indexes
-- Until the transaction ends: a plan that was made for empty tables, and is kept until Postgres has looked at them anew,
-- would read all transactions for each payout that is on its way.
SET LOCAL enable_seqscan = off

-- name: follow_replacements
-- A payout shows the newest attempt of its lineage until a block decides.
UPDATE withdrawal w SET tx_hash = a.tx_hash, position = a.positions[w.batch_place]
FROM lineage l JOIN attempt a ON a.lineage_id = l.id AND a.number = l.attempts
WHERE l.id = w.lineage_id AND w.chain = $1 AND w.state = 'sending' AND l.state = 'open'
  AND NOT a.void AND w.tx_hash IS DISTINCT FROM a.tx_hash

-- name: leave_out
-- A reorg put an older attempt in the place of the one that paid them.
UPDATE withdrawal w SET state = $2, version = w.version + 1, updated_at = $3
FROM left_out o WHERE o.id = w.id AND o.lineage_id = w.lineage_id AND w.chain = $1 AND w.state = 'confirmed'
RETURNING w.*

-- name: unbind_left_out
-- The attempt that does not pay them is final: none that does is sent any more. Compare-and-set by that transaction as well:
-- who waited for a row that another daemon has put into a new one looks at it anew, but not at the view.
UPDATE withdrawal w SET state = $2, reason = 'older_attempt_confirmed', version = w.version + 1, updated_at = $3,
    lineage_id = NULL, tx_hash = NULL, position = NULL, batch_place = NULL
FROM left_out o WHERE o.id = w.id AND o.lineage_id = w.lineage_id AND o.lineage_state = 'finalized' AND w.chain = $1 AND w.state = 'sending'
RETURNING w.*
