-- name: totals
-- How much there is to read.
SELECT (SELECT count(*) FROM posting) AS postings, (SELECT count(*) FROM event) AS events

-- name: houses
-- The house accounts with their exact balances.
SELECT h.account_id, h.asset, h.rolled_up + coalesce(d.amount, 0) AS balance, a.asset AS account_asset
FROM house_balance h
LEFT JOIN ledger_account a ON a.id = h.account_id AND a.owner_kind = 'house'
LEFT JOIN (SELECT account_id, sum(amount) AS amount FROM house_delta GROUP BY account_id) d USING (account_id)

-- name: stray_deltas
-- Deltas of accounts that are no house accounts: they would never count.
SELECT d.account_id, sum(d.amount) AS amount FROM house_delta d
LEFT JOIN house_balance h USING (account_id)
WHERE h.account_id IS NULL GROUP BY d.account_id

-- name: asset_sums
-- Per asset, what all accounts sum to; zero unless money appeared or vanished.
SELECT asset, sum(amount) AS amount
FROM (
    SELECT asset, total AS amount FROM customer_balance
    UNION ALL
    SELECT asset, rolled_up FROM house_balance
    UNION ALL
    SELECT h.asset, d.amount FROM house_delta d JOIN house_balance h USING (account_id)
) AS every_balance
GROUP BY asset HAVING sum(amount) <> 0

-- name: customers
-- The next customers' rows by account id.
SELECT b.account_id, b.asset, b.version, b.total, b.unfinalized, b.held, a.asset AS account_asset
FROM customer_balance b
LEFT JOIN ledger_account a ON a.id = b.account_id AND a.owner_kind <> 'house'
WHERE b.account_id > $1 ORDER BY b.account_id LIMIT $2

-- name: accounts_without_balance
-- Accounts that have no row to hold their balance.
SELECT a.id FROM ledger_account a
WHERE NOT EXISTS (SELECT FROM customer_balance b WHERE b.account_id = a.id AND a.owner_kind <> 'house')
  AND NOT EXISTS (SELECT FROM house_balance h WHERE h.account_id = a.id AND a.owner_kind = 'house')

-- name: history
-- The history of a range of customers, each in order.
SELECT customer, id, version, key, kind, from_account, to_account, asset, amount, resolves,
       total_after, unfinalized_after, held_after
FROM posting WHERE customer BETWEEN $1 AND $2 ORDER BY customer, id

-- name: house_history
-- Postings without a customer.
SELECT customer, id, version, key, kind, from_account, to_account, asset, amount, resolves,
       total_after, unfinalized_after, held_after
FROM posting WHERE customer IS NULL ORDER BY id

-- name: event_versions
-- Entities whose versions are not 1, 2, 3 … each once.
SELECT entity_kind, entity_id, count(*) AS events, min(entity_version) AS first, max(entity_version) AS last
FROM event GROUP BY entity_kind, entity_id
HAVING min(entity_version) <> 1 OR max(entity_version) <> count(*)
    OR count(DISTINCT entity_version) <> count(*)

-- name: feed_gaps
-- Positions whose predecessor is missing.
SELECT position, before
FROM (SELECT position, lag(position, 1, 0) OVER (ORDER BY position) AS before FROM event_position) AS p
WHERE position <> before + 1

-- name: feed_strays
-- Events that have no place or two: neither position nor queue, or both; positions of no event, or of another account.
SELECT coalesce(e.id, p.event_id, q.event_id) AS event_id
FROM event e
FULL JOIN event_position p ON p.event_id = e.id
FULL JOIN (SELECT unnest(event_ids) AS event_id FROM event_queue) q ON q.event_id = coalesce(e.id, p.event_id)
WHERE e.id IS NULL OR (p.event_id IS NULL) = (q.event_id IS NULL)
   OR (p.event_id IS NOT NULL AND p.account_id IS DISTINCT FROM e.account_id)

-- name: feed_order
-- Entities that the feed tells out of order.
SELECT entity_kind, entity_id, entity_version
FROM (
    SELECT e.entity_kind, e.entity_id, e.entity_version, p.position,
           lag(p.position) OVER (PARTITION BY e.entity_id, e.entity_kind ORDER BY e.entity_version) AS before
    FROM event e JOIN event_position p ON p.event_id = e.id
) AS told
WHERE position < before

-- name: guards
-- What keeps the rules by force: triggers that always fire, unique indexes, the domains of amounts.
SELECT 'trigger' AS what, c.relname || '.' || t.tgname AS name
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
WHERE NOT t.tgisinternal AND t.tgenabled = CASE t.tgname WHEN 'append_only' THEN 'A' ELSE 'O' END::"char"
  AND (t.tgname <> 'append_only' OR (t.tgtype & 58 = 58 AND t.tgfoid = 'refuse_change'::regproc))
UNION ALL
SELECT 'index', c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE i.indisunique AND i.indisvalid AND i.indisready
UNION ALL
SELECT 'domain', c.relname || '.' || f.attname || ' ' || pg_get_constraintdef(k.oid)
FROM pg_attribute f
JOIN pg_class c ON c.oid = f.attrelid AND c.relname IN ('customer_balance', 'posting')
JOIN pg_constraint k ON k.contypid = f.atttypid AND k.contype = 'c' AND k.convalidated
