-- name: senders
-- Our sending accounts, or this one alone, held: nonces are taken one after the other. Fewest in flight first.
SELECT a.destination, a.scheme, a.branch, a.key_index, s.next_nonce,
    (SELECT count(*) FROM nonce n JOIN lineage l ON l.id = n.reserved_by
     WHERE n.chain = s.chain AND n.account = s.account AND l.state = 'open') AS in_flight,
    (SELECT min(n.nonce) FROM nonce n
     WHERE n.chain = s.chain AND n.account = s.account AND n.reserved_by IS NULL AND n.spent_by IS NULL) AS free_nonce
FROM sender s JOIN address a ON a.chain = s.chain AND a.destination = s.account
WHERE s.chain = $1 AND CASE WHEN $2::bytea IS NULL THEN a.branch = 1 ELSE s.account = $2 END
ORDER BY in_flight, a.key_index FOR UPDATE OF s

-- name: take_nonce
-- Compare-and-set: a nonce that nobody uses, or the caller rolls back.
INSERT INTO nonce (chain, account, nonce, reserved_by) VALUES ($1, $2, $3, $4)
ON CONFLICT (chain, account, nonce) DO UPDATE SET reserved_by = excluded.reserved_by
WHERE nonce.reserved_by IS NULL AND nonce.spent_by IS NULL

-- name: move_nonce
-- The next nonce that was never used.
UPDATE sender SET next_nonce = greatest(next_nonce, $3) WHERE chain = $1 AND account = $2

-- name: available
-- What each of these accounts has beyond what open transactions may take.
SELECT u.account, u.asset, coalesce(h.amount, 0) - coalesce((
    SELECT sum(r.amount) FROM reservation r JOIN lineage l ON l.id = r.lineage_id
    WHERE l.state = 'open' AND r.chain = $1 AND r.account = u.account AND r.asset = u.asset), 0) AS amount
FROM unnest($2::bytea[], $3::text[]) AS u (account, asset)
LEFT JOIN holding h ON h.chain = $1 AND h.account = u.account AND h.asset = u.asset

-- name: reserve_amounts
-- The most that the transaction takes from each account.
INSERT INTO reservation (lineage_id, chain, account, asset, amount)
SELECT $1, $2, u.account, u.asset, u.amount FROM unnest($3::bytea[], $4::text[], $5::numeric[]) AS u (account, asset, amount)
ON CONFLICT (lineage_id, account, asset) DO UPDATE SET amount = greatest(reservation.amount, excluded.amount)

-- name: unopened
-- Sending accounts that were never looked at.
SELECT a.destination FROM address a
WHERE a.chain = $1 AND a.branch = 1 AND NOT EXISTS (
    SELECT FROM sender s WHERE s.chain = a.chain AND s.account = a.destination)
ORDER BY a.key_index

-- name: open_holding
-- What an account had when we first looked.
INSERT INTO holding (chain, account, asset, amount) VALUES ($1, $2, $3, $4)
ON CONFLICT (chain, account, asset) DO UPDATE SET amount = excluded.amount

-- name: open_sender
-- The nonce from which we count.
INSERT INTO sender (chain, account, next_nonce) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING

-- name: known_senders
-- Which of these were looked at.
SELECT account FROM sender WHERE chain = $1 AND account = ANY($2::bytea[])

-- name: read_block
-- The block up to which the chain is applied.
SELECT height, hash FROM chain WHERE chain = $1

-- name: lock_block
-- The block up to which the chain is applied, held.
SELECT height, hash FROM chain WHERE chain = $1 FOR NO KEY UPDATE

-- name: record_movements
-- What a block changes of our balances, each once.
WITH added AS (
    INSERT INTO movement (chain, tx_hash, account, asset, delta, height)
    SELECT $1, u.tx_hash, u.account, u.asset, u.delta, $2
    FROM unnest($3::bytea[], $4::bytea[], $5::text[], $6::numeric[]) AS u (tx_hash, account, asset, delta)
    JOIN address a ON a.chain = $1 AND a.destination = u.account
    ON CONFLICT DO NOTHING
    RETURNING account, asset, delta)
INSERT INTO holding (chain, account, asset, amount)
SELECT $1, account, asset, sum(delta) FROM added GROUP BY account, asset
ON CONFLICT (chain, account, asset) DO UPDATE SET amount = holding.amount + excluded.amount

-- name: use_nonces
-- Nonces of our accounts that a block uses up, by whichever transaction. What looks like a second use is none: the chain
-- passes over an authorization whose nonce was used.
INSERT INTO nonce (chain, account, nonce, spent_by, spent_height)
SELECT $1, u.account, u.nonce, u.tx_hash, $2
FROM unnest($3::bytea[], $4::bigint[], $5::bytea[]) AS u (account, nonce, tx_hash)
JOIN address a ON a.chain = $1 AND a.destination = u.account
ON CONFLICT (chain, account, nonce) DO UPDATE SET spent_by = excluded.spent_by, spent_height = excluded.spent_height
WHERE nonce.spent_by IS NULL OR nonce.spent_by = excluded.spent_by
RETURNING reserved_by, spent_by AS tx_hash

-- name: skip_nonces
-- A nonce that a block used is never taken again, whoever used it.
UPDATE sender s SET next_nonce = u.next_nonce
FROM (SELECT account, max(nonce) + 1 AS next_nonce FROM unnest($2::bytea[], $3::bigint[]) AS n (account, nonce)
      GROUP BY account) AS u
WHERE s.chain = $1 AND s.account = u.account AND s.next_nonce < u.next_nonce

-- name: free_nonces_of
-- What ended lineages reserved and nobody used: taken again before any new one, so that no gap stays.
UPDATE nonce SET reserved_by = NULL WHERE reserved_by = ANY($1::uuid[]) AND spent_by IS NULL

-- name: unspend_nonces
-- Uses in blocks that are being left.
UPDATE nonce SET spent_by = NULL, spent_height = NULL WHERE chain = $1 AND spent_height > $2

-- name: undo_movements
-- The balances as they were at the fork.
WITH gone AS (
    DELETE FROM movement WHERE chain = $1 AND height > $2 RETURNING account, asset, delta)
UPDATE holding h SET amount = h.amount - g.delta
FROM (SELECT account, asset, sum(delta) AS delta FROM gone GROUP BY account, asset) AS g
WHERE h.chain = $1 AND h.account = g.account AND h.asset = g.asset

-- name: is_set_up
-- Whether the transaction that set something up did so, for good: payments that count on it fail when a reorg takes it.
SELECT EXISTS (SELECT FROM lineage
    WHERE chain = $1 AND kind = 'setup' AND subject = $2 AND state = 'finalized' AND array_position(outcomes, NULL) IS NULL)

-- name: own_moves
-- Which of these transactions move our own money only.
SELECT a.tx_hash FROM attempt a JOIN lineage l ON l.id = a.lineage_id
WHERE a.chain = $1 AND a.tx_hash = ANY($2::bytea[]) AND l.kind <> 'payout'
