-- name: open_members
-- Open transactions by their newest attempts.
SELECT l.id, a.fee, a.size, a.planned_height,
    a.broadcast_at IS NOT NULL AND NOT a.void AND l.conflict IS NULL AS firm, l.conflict IS NOT NULL AS lost
FROM lineage l JOIN attempt a ON a.lineage_id = l.id AND a.number = l.attempts
WHERE l.chain = $1 AND l.state = 'open'

-- name: unconfirmed_inputs
-- What they spend that no block holds; without a parent where that is no change of a newest attempt.
SELECT l.id AS child, p.id AS parent
FROM lineage l JOIN coin c ON c.reserved_by = l.id AND c.height IS NULL
LEFT JOIN attempt_change g ON g.resource = c.resource AND g.chain = c.chain
LEFT JOIN lineage p ON p.id = g.lineage_id AND p.attempts = g.number AND p.state = 'open'
WHERE l.chain = $1 AND l.state = 'open'

-- name: pending_change
-- What of these transactions could be spent, the largest first.
SELECT p.resource, p.amount, p.destination, a.scheme, a.branch, a.key_index
FROM pending_change p JOIN address a USING (chain, destination)
WHERE p.chain = $1 AND p.lineage_id = ANY($2::uuid[]) AND a.branch = 1
ORDER BY p.amount DESC, p.resource LIMIT $3

-- name: parents_of
-- Whose change these are.
SELECT DISTINCT lineage_id FROM attempt_change WHERE chain = $1 AND resource = ANY($2::bytea[])

-- name: lock_parents
-- Those that nobody else holds: the caller holds other locks, and waits for none of these. Until it ends, none is replaced.
SELECT id FROM lineage WHERE id = ANY($1::uuid[]) AND state = 'open' FOR NO KEY UPDATE SKIP LOCKED

-- name: reserve_change
-- Compare-and-set: every one of the list, as it is with its parents locked, or the caller rolls back.
INSERT INTO coin (chain, resource, amount, destination, reserved_by)
SELECT p.chain, p.resource, p.amount, p.destination, $3 FROM pending_change p
WHERE p.chain = $1 AND p.resource = ANY($2::bytea[])
ON CONFLICT (resource, chain) DO UPDATE SET reserved_by = EXCLUDED.reserved_by
WHERE coin.reserved_by IS NULL AND coin.spent_by IS NULL AND coin.height IS NULL

-- name: has_children
-- Whether a transaction of ours spends change of this attempt.
SELECT EXISTS (
    SELECT FROM attempt_change g JOIN coin c ON c.resource = g.resource AND c.chain = g.chain
    WHERE g.lineage_id = $1 AND g.number = $2 AND c.reserved_by IS NOT NULL)

-- name: was_refused
-- Whether the signer refused a child of this attempt.
SELECT EXISTS (SELECT FROM lineage WHERE chain = $1 AND kind = 'child' AND subject = $2 AND state = 'dead'
    AND reason LIKE 'signer_refused%')
