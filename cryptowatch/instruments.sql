-- name: withdrawals_waiting
-- Per state, without the queued ones, which `queued` counts.
SELECT chain, asset, state, count(*) FROM withdrawal
WHERE state IN ('in_review', 'sending', 'confirmed') GROUP BY chain, asset, state

-- name: queued
-- How many wait to be sent, since when the oldest one does, and how many of them are more than what can be spent: the queue
-- may be long, and is read once for all of it.
WITH s AS MATERIALIZED (SELECT chain, asset, amount FROM spendable)
SELECT w.chain, w.asset, w.priority, count(*) AS count, min(w.queued_at) AS since,
       count(*) FILTER (WHERE w.amount > coalesce(s.amount, 0)) AS uncovered
FROM withdrawal w LEFT JOIN s ON s.chain = w.chain AND s.asset = w.asset
WHERE w.state = 'queued' GROUP BY w.chain, w.asset, w.priority

-- name: wallet_balances
-- Unspent coins per chain, or what the accounts hold: those that send, less what is reserved of them, players' deposit
-- accounts, which wait for a sweep, and cold ones. Change of attempts that lost for good is none.
SELECT d.chain, d.asset, state, coalesce(sum(c.amount), 0) AS amount
FROM chain d JOIN unnest(ARRAY['confirmed', 'unconfirmed', 'reserved', 'cold']) AS state ON true
LEFT JOIN coin c ON c.chain = d.chain AND c.spent_by IS NULL AND state =
    CASE WHEN EXISTS (SELECT FROM address a WHERE a.chain = c.chain AND a.destination = c.destination AND a.branch >= 2)
    THEN 'cold' WHEN c.height IS NULL THEN CASE WHEN NOT EXISTS (
        SELECT FROM lost_change o WHERE o.chain = c.chain AND o.resource = c.resource) THEN 'unconfirmed' END
    WHEN c.reserved_by IS NOT NULL THEN 'reserved' ELSE 'confirmed' END
WHERE NOT EXISTS (SELECT FROM sender s WHERE s.chain = d.chain)
GROUP BY d.chain, d.asset, state
UNION ALL
SELECT o.chain, o.asset, s.state, sum(CASE s.state
    WHEN 'unswept' THEN CASE a.branch WHEN 0 THEN o.amount ELSE 0 END
    WHEN 'cold' THEN CASE a.branch WHEN 2 THEN o.amount ELSE 0 END
    WHEN 'reserved' THEN r.amount
    ELSE CASE a.branch WHEN 1 THEN o.amount - r.amount ELSE 0 END END)
FROM holding o JOIN address a ON a.chain = o.chain AND a.destination = o.account
CROSS JOIN unnest(ARRAY['confirmed', 'reserved', 'unswept', 'cold']) AS s (state)
CROSS JOIN LATERAL (
    SELECT coalesce(sum(v.amount), 0) AS amount FROM reservation v JOIN lineage l ON l.id = v.lineage_id
    WHERE a.branch = 1 AND l.state = 'open' AND v.chain = o.chain AND v.account = o.account AND v.asset = o.asset) AS r
WHERE o.amount <> 0
GROUP BY o.chain, o.asset, s.state

-- name: chains
-- Which are halted, and how many of their transactions were told to be stuck.
SELECT chain, halted IS NOT NULL AS halted, stopped_assets, (
    SELECT count(*) FROM lineage l WHERE l.chain = c.chain AND l.state = 'open' AND l.stuck IS NOT NULL) AS stuck
FROM chain c

-- name: compared_assets
-- Those whose chain and ledger were ever compared.
SELECT DISTINCT chain, asset FROM reconciliation

-- name: cases_open
-- How many cases of each rule nobody decided yet.
SELECT rule, count(*) FROM compliance_case WHERE state = 'open' GROUP BY rule

-- name: screenings_pending
-- Withdrawals that wait for a verdict.
SELECT count(*) FROM withdrawal w
WHERE w.state = 'in_review' AND 'screening' = ANY (string_to_array(w.reason, ', '))
  AND NOT EXISTS (SELECT FROM screening s WHERE s.withdrawal_id = w.id)

-- name: source_screenings_pending
-- Deposits of which the provider is to be asked, and since when it was asked in vain about one of them.
SELECT count(*) AS count, min(unanswered_since) AS unanswered_since FROM source_screening_queue

-- name: consumers
-- How many events each reader of the feed with a place has before it.
SELECT c.name, greatest(0, head.position - c.position) AS lag
FROM consumer c CROSS JOIN (SELECT feed_head() AS position) AS head
