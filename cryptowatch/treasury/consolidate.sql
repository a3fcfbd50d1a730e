-- name: room
-- The hot wallet's free coins that are worth spending, what they have beyond the queue, and consolidations on their way or
-- refused lately.
SELECT c.height, f.coins, f.amount - q.amount AS spare,
    (SELECT count(*) FROM lineage WHERE chain = $1 AND kind = 'consolidation'
       AND (state = 'open' OR (state = 'dead' AND updated_at > $4))) AS in_flight
FROM chain c
CROSS JOIN LATERAL (
    SELECT count(*) AS coins, coalesce(sum(o.amount), 0) AS amount
    FROM coin o JOIN address a USING (chain, destination)
    WHERE o.chain = $1 AND o.height <= c.height - $2 + 1 AND o.mature_height <= c.height AND o.reserved_by IS NULL
      AND o.spent_by IS NULL AND a.branch < 2 AND o.amount >= $3) AS f
CROSS JOIN LATERAL (
    SELECT coalesce(sum(amount), 0) AS amount FROM withdrawal WHERE chain = $1 AND state = 'queued') AS q
WHERE c.chain = $1
