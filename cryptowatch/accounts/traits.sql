-- name: add
-- What accounts were seen with, in one order.
INSERT INTO account_trait AS t (account_id, kind, value, first_seen_at, last_seen_at)
SELECT account_id, kind, value, seen_at, seen_at
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[]) AS new (account_id, kind, value, seen_at)
ORDER BY account_id, kind, value
ON CONFLICT (account_id, kind, value) DO UPDATE SET last_seen_at = greatest(t.last_seen_at, EXCLUDED.last_seen_at)

-- name: forget
-- Those of an account that were not seen for longest, beyond so many. Addresses stay: they are facts of its money.
DELETE FROM account_trait WHERE account_id = $1 AND (kind, value) IN (
    SELECT kind, value FROM account_trait WHERE account_id = $1 AND kind IN ('device', 'ip_prefix')
    ORDER BY last_seen_at DESC, kind, value OFFSET $2)

-- name: shared
-- What an account shares, and with whom; without what more than so many have.
SELECT t.kind, t.value, array_agg(o.account_id) AS others
FROM account_trait t
CROSS JOIN LATERAL (
    SELECT s.account_id FROM account_trait s
    WHERE s.kind = t.kind AND s.value = t.value AND s.account_id <> t.account_id LIMIT $2
) AS o
WHERE t.account_id = $1
GROUP BY t.kind, t.value
HAVING count(*) < $2
ORDER BY t.kind, t.value
