-- name: deposited
-- What accounts deposited since a day of each, by day (UTC) and asset, as far as it stands.
SELECT d.account_id, (d.created_at AT TIME ZONE 'UTC')::date AS day, d.asset, sum(d.amount) AS amount
FROM unnest($1::uuid[], $2::date[]) AS asked (account_id, since)
JOIN deposit d ON d.account_id = asked.account_id AND d.created_at >= asked.since::timestamp AT TIME ZONE 'UTC'
WHERE d.state IN ('detected', 'confirming', 'credited', 'finalized')
GROUP BY 1, 2, 3
