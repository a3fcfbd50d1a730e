-- name: standing
-- One asset's hot and cold wallet, all of one snapshot. Coins are the chain's own asset; balances are of the vault, and
-- of deposit accounts, which will be swept. What arrived in blocks that are not final yet is not final; $3 is the depth
-- that is.
WITH at AS (
    SELECT height, asset, least(height - $3::bigint + 1, final_height) AS final_height FROM chain WHERE chain = $1
), coins AS (
    SELECT a.branch, c.amount, c.mature_height <= at.height AS final
    FROM coin c JOIN at ON at.asset = $2 JOIN address a ON a.chain = c.chain AND a.destination = c.destination
    WHERE c.chain = $1 AND c.height IS NOT NULL AND c.spent_by IS NULL
), accounts AS (
    SELECT a.branch, h.amount, a.branch = 1 AND a.key_index = 0 AS vault, CASE WHEN a.branch = 1 THEN coalesce((
        SELECT sum(m.delta) FROM movement m JOIN at ON m.height > at.final_height
        WHERE m.chain = $1 AND m.account = h.account AND m.asset = $2 AND m.delta > 0), 0) END AS fresh
    FROM holding h JOIN address a ON a.chain = h.chain AND a.destination = h.account
    WHERE h.chain = $1 AND h.asset = $2 AND h.amount <> 0 AND (a.branch <> 1 OR a.key_index = 0)
), leaving AS (
    SELECT coalesce(sum(amount), 0) AS amount FROM (
        SELECT w.amount FROM withdrawal w JOIN lineage l ON l.id = w.lineage_id
        WHERE w.chain = $1 AND w.asset = $2 AND w.state = 'sending'
          AND (l.state = 'open' OR EXISTS (SELECT FROM left_out o WHERE o.id = w.id))
        UNION ALL
        SELECT r.amount FROM rebalance r JOIN lineage l ON l.id = r.lineage_id
        WHERE r.chain = $1 AND r.asset = $2 AND r.direction = 'overflow' AND l.state = 'open') AS gone
)
SELECT (SELECT coalesce(sum(amount), 0) FROM coins WHERE branch < 2)
     + (SELECT coalesce(sum(amount), 0) FROM accounts WHERE branch < 2) - leaving.amount AS confirmed,
    (SELECT coalesce(sum(amount), 0) FROM coins WHERE branch < 2 AND final)
     + (SELECT coalesce(sum(amount - fresh), 0) FROM accounts WHERE vault) - leaving.amount AS final,
    (SELECT coalesce(sum(amount), 0) FROM coins WHERE branch >= 2)
     + (SELECT coalesce(sum(amount), 0) FROM accounts WHERE branch >= 2) AS cold,
    (SELECT coalesce(sum(amount), 0) FROM withdrawal
     WHERE chain = $1 AND asset = $2 AND state IN ('requested', 'in_review', 'queued')) AS queued,
    (SELECT coalesce(sum(amount), 0) FROM rebalance
     WHERE chain = $1 AND asset = $2 AND lineage_id IS NOT NULL
       AND state IN ('proposed', 'signed', 'broadcast')) AS in_transit,
    (SELECT id FROM rebalance WHERE chain = $1 AND asset = $2
       AND state IN ('requested', 'proposed', 'signed', 'broadcast')) AS open_rebalance
FROM leaving
