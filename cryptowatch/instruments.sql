-- name: withdrawals_waiting
-- Per state, for gauges.
SELECT chain, asset, state, count(*) FROM withdrawal
WHERE state IN ('in_review', 'queued', 'sending', 'confirmed') GROUP BY chain, asset, state

-- name: oldest_queued
-- Since when the oldest one waits.
SELECT chain, min(queued_at) AS queued_at FROM withdrawal WHERE state = 'queued' GROUP BY chain

-- name: wallet_balances
-- Unspent coins per chain.
SELECT d.chain, d.asset,
    coalesce(sum(c.amount) FILTER (WHERE c.height IS NOT NULL AND c.reserved_by IS NULL), 0) AS confirmed,
    coalesce(sum(c.amount) FILTER (WHERE c.height IS NULL AND c.reserved_by IS NULL), 0) AS unconfirmed,
    coalesce(sum(c.amount) FILTER (WHERE c.reserved_by IS NOT NULL), 0) AS reserved
FROM chain d LEFT JOIN coin c ON c.chain = d.chain AND c.spent_by IS NULL
GROUP BY d.chain, d.asset

-- name: chains
-- Which are halted.
SELECT chain, (halted IS NOT NULL)::int AS halted FROM chain
