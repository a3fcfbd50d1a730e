-- name: statement
-- The newest postings of all accounts of one owner below an id, each account by its own index.
SELECT p.id, p.created_at, a.role, p.asset, p.kind, p.key, p.reference, p.amount,
       p.total_after, p.unfinalized_after, p.held_after
FROM ledger_account a
CROSS JOIN LATERAL (
    SELECT * FROM posting own
    WHERE own.customer = a.id AND ($4::bigint IS NULL OR own.id < $4)
      AND ($6::timestamptz IS NULL OR own.created_at >= $6) AND ($7::timestamptz IS NULL OR own.created_at < $7)
    ORDER BY own.id DESC LIMIT $5
) p
WHERE a.owner_id = $1 AND a.owner_kind = $2 AND ($3::text IS NULL OR a.asset = $3)
ORDER BY p.id DESC
LIMIT $5
