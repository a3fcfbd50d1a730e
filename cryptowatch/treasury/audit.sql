-- name: held
-- What some of our accounts hold by their movements, at the block up to which the chain is applied: those that send, and
-- a round of the deposit accounts that are not empty, by turns.
WITH round AS (
    SELECT DISTINCT o.account FROM holding o JOIN address a ON a.chain = o.chain AND a.destination = o.account
    WHERE o.chain = $1 AND a.branch = 0 AND o.amount <> 0 AND o.account > $2 ORDER BY o.account LIMIT $3
), looked_at AS (
    SELECT s.account FROM sender s WHERE s.chain = $1 UNION SELECT account FROM round)
SELECT c.height, c.hash, h.account, h.asset, h.amount, a.branch
FROM chain c JOIN looked_at l ON true
JOIN holding h ON h.chain = c.chain AND h.account = l.account
JOIN address a ON a.chain = c.chain AND a.destination = h.account
WHERE c.chain = $1 ORDER BY h.account, h.asset
