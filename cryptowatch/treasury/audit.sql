-- name: held
-- What some of our accounts hold by their movements, at the block up to which the chain is applied: those that send,
-- those that differed, and a round of the deposit accounts that are not empty, by turns.
WITH round AS (
    SELECT DISTINCT o.account FROM holding o JOIN address a ON a.chain = o.chain AND a.destination = o.account
    WHERE o.chain = $1 AND a.branch = 0 AND o.amount <> 0 AND o.account > $2 ORDER BY o.account LIMIT $3
), looked_at AS (
    SELECT s.account FROM sender s WHERE s.chain = $1
    UNION SELECT account FROM round
    UNION (SELECT account FROM audit_finding WHERE chain = $1 ORDER BY found_at LIMIT $3))
SELECT c.height, c.hash, h.account, h.asset, h.amount, h.account IN (SELECT account FROM round) AS in_turn
FROM chain c JOIN looked_at l ON true
JOIN holding h ON h.chain = c.chain AND h.account = l.account
WHERE c.chain = $1 ORDER BY h.account, h.asset

-- name: keep_findings
-- The differences of what was looked at; those that are other than before come back.
WITH seen AS (
    SELECT u.account, u.asset, u.difference FROM unnest($2::bytea[], $3::text[], $4::numeric[]) AS u (account, asset, difference)
), gone AS (
    DELETE FROM audit_finding f USING seen s
    WHERE f.chain = $1 AND f.account = s.account AND f.asset = s.asset AND s.difference = 0)
INSERT INTO audit_finding AS f (chain, account, asset, difference, height, found_at)
SELECT $1, account, asset, difference, $5, $6 FROM seen WHERE difference <> 0
ON CONFLICT (chain, account, asset) DO UPDATE
SET difference = excluded.difference, height = excluded.height, found_at = excluded.found_at
WHERE f.difference <> excluded.difference
RETURNING asset, difference
