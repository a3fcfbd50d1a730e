-- name: positions
-- Every term of every chain's position, in one snapshot.
SELECT c.chain, c.asset,
    (SELECT coalesce(sum(amount), 0) FROM coin WHERE chain = c.chain AND height IS NOT NULL AND spent_by IS NULL)
        AS on_chain,
    (SELECT coalesce(sum(amount), 0) FROM deposit
     WHERE chain = c.chain AND asset = c.asset AND block_height IS NOT NULL
       AND state IN ('confirming', 'quarantined')) AS uncredited,
    (SELECT coalesce(sum(w.amount), 0) FROM withdrawal w JOIN lineage l ON l.id = w.lineage_id
     WHERE w.chain = c.chain AND w.asset = c.asset AND w.state IN ('sending', 'confirmed')
       AND l.state IN ('confirmed', 'finalized')) AS unsettled,
    (SELECT coalesce(sum(a.fee), 0) FROM lineage l JOIN attempt a ON a.chain = l.chain AND a.tx_hash = l.tx_hash
     WHERE l.chain = c.chain AND l.state = 'confirmed') AS unbooked_fees
FROM chain c

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
