-- name: lock_accounts
-- Who asks, whose each address is, and from when on it may be paid. The accounts are held until the requests are decided,
-- so that two requests of one account see each other.
SELECT c.id, c.status, c.kyc_level, c.limits, c.allow_list, a.branch, a.account_id AS owner, o.status AS owner_status,
       l.usable_at, EXISTS (SELECT FROM account_hold h WHERE h.account_id = c.id) AS under_review
FROM unnest($1::uuid[], $2::text[], $3::bytea[]) AS asked (account_id, chain, destination)
JOIN account c ON c.id = asked.account_id
LEFT JOIN address a ON a.destination = asked.destination AND a.chain = asked.chain
LEFT JOIN account o ON o.id = a.account_id
LEFT JOIN allowed_address l
    ON l.account_id = asked.account_id AND l.chain = asked.chain AND l.destination = asked.destination
ORDER BY c.id FOR NO KEY UPDATE OF c

-- name: lock_balances
-- What they have; held in the ledger's order, so that nothing changes before the holds are posted.
SELECT account_id, total, unfinalized, held FROM customer_balance WHERE account_id = ANY ($1::bigint[])
ORDER BY account_id FOR NO KEY UPDATE

-- name: used
-- What accounts asked for since a time, and still have or got; in the order asked.
SELECT coalesce(sum(w.amount), 0) AS amount, count(w.id) AS count
FROM unnest($1::uuid[], $2::text[], $3::timestamptz[]) WITH ORDINALITY AS asked (account_id, asset, since, place)
LEFT JOIN withdrawal w ON w.account_id = asked.account_id AND w.asset = asked.asset AND w.created_at > asked.since
    AND w.state NOT IN ('rejected', 'canceled', 'failed')
GROUP BY asked.place ORDER BY asked.place

-- name: lock_asset
-- One decision at a time about what all accounts together may take of an asset, in whatever process.
SELECT FROM pg_advisory_xact_lock(hashtextextended('cryptowatch.global_limit.' || $1, 0))

-- name: used_by_all
-- The same of all accounts together, for what leaves on a chain.
SELECT coalesce(sum(w.amount), 0) AS amount, count(w.id) AS count
FROM unnest($1::text[], $2::timestamptz[]) WITH ORDINALITY AS asked (asset, since, place)
LEFT JOIN withdrawal w ON w.asset = asked.asset AND w.created_at > asked.since AND w.recipient IS NULL
    AND w.state NOT IN ('rejected', 'canceled', 'failed')
GROUP BY asked.place ORDER BY asked.place

-- name: wagered
-- What accounts deposited and bet, all their life: reads their whole history; in the order asked.
SELECT coalesce(sum(CASE p.kind WHEN 'deposit_credit' THEN p.amount WHEN 'deposit_credit_final' THEN p.amount
                                WHEN 'deposit_reverse' THEN -p.amount WHEN 'deposit_reverse_final' THEN -p.amount
                                ELSE 0 END), 0) AS deposited,
       coalesce(sum(CASE p.kind WHEN 'bet' THEN p.amount WHEN 'refund' THEN -p.amount ELSE 0 END), 0) AS wagered
FROM unnest($1::bigint[]) WITH ORDINALITY AS asked (customer, place)
LEFT JOIN posting p ON p.customer = asked.customer
    AND p.kind IN ('deposit_credit', 'deposit_credit_final', 'deposit_reverse', 'deposit_reverse_final', 'bet', 'refund')
GROUP BY asked.place ORDER BY asked.place
