-- name: positions
-- Every term of every chain's position, in one snapshot.
SELECT p.chain, p.asset,
    (SELECT coalesce(sum(amount), 0) FROM coin
     WHERE chain = p.chain AND p.asset = c.asset AND height IS NOT NULL AND spent_by IS NULL)
    + (SELECT coalesce(sum(amount), 0) FROM holding WHERE chain = p.chain AND asset = p.asset) AS on_chain,
    (SELECT coalesce(sum(amount), 0) FROM deposit
     WHERE chain = p.chain AND asset = p.asset AND block_height IS NOT NULL
       AND state IN ('confirming', 'quarantined')) AS uncredited,
    (SELECT coalesce(sum(w.amount), 0) FROM withdrawal w JOIN lineage l ON l.id = w.lineage_id
     WHERE w.chain = p.chain AND w.asset = p.asset AND w.state IN ('sending', 'confirmed')
       AND l.state IN ('confirmed', 'finalized')
       -- A payment that failed in its transaction took nothing.
       AND (l.outcomes IS NULL OR l.outcomes[w.batch_place] IS NOT NULL)) AS unsettled,
    (SELECT coalesce(sum(coalesce(l.fee_paid, a.fee)), 0)
     FROM lineage l JOIN attempt a ON a.chain = l.chain AND a.tx_hash = l.tx_hash
     WHERE l.chain = p.chain AND p.asset = c.asset AND l.state = 'confirmed') AS unbooked_fees
FROM (SELECT chain, asset FROM chain UNION SELECT chain, asset FROM holding) AS p JOIN chain c USING (chain)

-- name: found
-- The finding of a check; a row comes back when it is another one than the last, or more is missing than then.
INSERT INTO reconciliation (chain, asset, state, difference, version, checked_at) VALUES ($1, $2, $3, $4, 1, $5)
ON CONFLICT (chain, asset) DO UPDATE SET state = excluded.state, difference = excluded.difference,
    version = reconciliation.version + 1, checked_at = excluded.checked_at
WHERE reconciliation.state <> excluded.state
   OR (excluded.state = 'mismatch' AND excluded.difference < reconciliation.difference)
RETURNING version

-- name: checked
-- The same finding as before.
UPDATE reconciliation SET difference = $3, checked_at = $4 WHERE chain = $1 AND asset = $2
