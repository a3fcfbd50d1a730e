-- name: open_members
-- Open transactions by their newest attempts, with what the first one bid and what became of any of them.
SELECT l.id, a.fee, a.size, a.planned_height,
    a.broadcast_at IS NOT NULL AND NOT a.void AND l.conflict IS NULL AS firm, l.conflict IS NOT NULL AS lost,
    l.kind <> 'child' AS pays, f.fee AS first_fee, f.size AS first_size, e.signed, e.taken,
    a.taken_at IS NOT NULL AS held, l.kind = 'child' OR l.attempts > 1 AS lifts
FROM lineage l JOIN attempt a ON a.lineage_id = l.id AND a.number = l.attempts
JOIN attempt f ON f.lineage_id = l.id AND f.number = 1
CROSS JOIN LATERAL (
    SELECT bool_or(b.raw IS NOT NULL) AS signed, bool_or(b.taken_at IS NOT NULL) AS taken
    FROM attempt b WHERE b.lineage_id = l.id) AS e
WHERE l.chain = $1 AND l.state = 'open'

-- name: unconfirmed_inputs
-- What they spend that no block holds; without a parent where that is no change of an open transaction's, and whether the
-- attempt that it is change of was replaced.
SELECT l.id AS child, p.id AS parent, coalesce(p.attempts <> g.number, false) AS replaced
FROM lineage l JOIN coin c ON c.reserved_by = l.id AND c.height IS NULL
LEFT JOIN attempt_change g ON g.resource = c.resource AND g.chain = c.chain
LEFT JOIN lineage p ON p.id = g.lineage_id AND p.state = 'open'
WHERE l.chain = $1 AND l.state = 'open'

-- name: pending_change
-- What of these transactions could be spent, the largest first.
SELECT p.resource, p.amount, p.destination, p.lineage_id, a.scheme, a.branch, a.key_index
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

-- name: children_of
-- Transactions of ours that spend change of this attempt.
SELECT DISTINCT c.reserved_by AS child
FROM attempt_change g JOIN coin c ON c.resource = g.resource AND c.chain = g.chain
WHERE g.lineage_id = $1 AND g.number = $2 AND c.reserved_by IS NOT NULL

-- name: was_refused
-- Whether the signer refused a child of this attempt.
SELECT EXISTS (SELECT FROM lineage WHERE chain = $1 AND kind = 'child' AND subject = $2 AND state = 'dead'
    AND reason LIKE 'signer_refused%')
