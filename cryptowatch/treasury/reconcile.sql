-- name: positions
-- Every term of every chain's position, in one snapshot.
SELECT p.chain, p.asset, c.height, c.final_height, coalesce(r.bookings, 0) AS bookings,
    coalesce(r.version, 0) AS version,
    (SELECT coalesce(sum(amount), 0) FROM coin
     WHERE chain = p.chain AND p.asset = c.asset AND height IS NOT NULL AND spent_by IS NULL)
    + (SELECT coalesce(sum(amount), 0) FROM holding WHERE chain = p.chain AND asset = p.asset) AS on_chain,
    f.unseen_losses, f.unseen_gains,
    (SELECT coalesce(sum(amount), 0) FROM deposit
     WHERE chain = p.chain AND asset = p.asset AND block_height IS NOT NULL
       AND state IN ('confirming', 'quarantined')) AS uncredited,
    (SELECT coalesce(sum(w.amount), 0) FROM withdrawal w JOIN lineage l ON l.id = w.lineage_id
     WHERE w.chain = p.chain AND w.asset = p.asset AND w.state IN ('sending', 'confirmed')
       AND l.state IN ('confirmed', 'finalized')
       -- A payment that failed in its transaction took nothing, nor did one that the attempt in the block does not make.
       AND (l.outcomes IS NULL OR l.outcomes[w.batch_place] IS NOT NULL)
       AND NOT EXISTS (SELECT FROM left_out o WHERE o.id = w.id)) AS unsettled,
    (SELECT coalesce(sum(w.amount), 0) FROM withdrawal w
     WHERE w.chain = p.chain AND w.asset = p.asset AND w.state IN ('sending', 'confirmed')) AS in_flight,
    (SELECT coalesce(sum(coalesce(l.fee_paid, a.fee)), 0)
     FROM lineage l JOIN attempt a ON a.chain = l.chain AND a.tx_hash = l.tx_hash
     WHERE l.chain = p.chain AND p.asset = c.asset AND l.state = 'confirmed') AS unbooked_fees
FROM (SELECT chain, asset FROM chain UNION SELECT chain, asset FROM holding) AS p JOIN chain c USING (chain)
LEFT JOIN reconciliation r ON r.chain = p.chain AND r.asset = p.asset
CROSS JOIN LATERAL (
    SELECT coalesce(-sum(difference) FILTER (WHERE difference < 0), 0) AS unseen_losses,
        coalesce(sum(difference) FILTER (WHERE difference > 0), 0) AS unseen_gains
    FROM audit_finding WHERE chain = p.chain AND asset = p.asset) AS f

-- name: open
-- Before the first finding.
INSERT INTO reconciliation (chain, asset, state, difference, version, checked_at)
VALUES ($1, $2, 'balanced', 0, 0, 'epoch') ON CONFLICT DO NOTHING

-- name: lock
-- The last finding, held.
SELECT state, difference, version, since, surplus, surplus_height, bookings FROM reconciliation
WHERE chain = $1 AND asset = $2 FOR UPDATE

-- name: checked
-- What a check found.
UPDATE reconciliation SET state = $3, difference = $4, version = $5, checked_at = $6, since = $7, surplus = $8,
    surplus_height = $9
WHERE chain = $1 AND asset = $2

-- name: count_booking
-- The number of this booking.
UPDATE reconciliation SET bookings = bookings + 1, version = $3 WHERE chain = $1 AND asset = $2 RETURNING bookings

-- name: stop
-- Nothing of this asset is paid out any more.
UPDATE chain SET stopped_assets = array_append(stopped_assets, $2) WHERE chain = $1 AND $2 <> ALL(stopped_assets)

-- name: release
-- It is again.
UPDATE chain SET stopped_assets = array_remove(stopped_assets, $2) WHERE chain = $1 AND $2 = ANY(stopped_assets)

-- name: last_findings
-- What the last checks found, and what they stopped.
SELECT r.chain, r.asset, r.state, r.since, r.checked_at, r.asset = ANY(c.stopped_assets) AS stopped
FROM reconciliation r JOIN chain c USING (chain) WHERE r.version > 0
