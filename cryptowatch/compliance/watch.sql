-- name: account
-- How well an account is known, and up to when a person decided about what each rule found.
SELECT a.kyc_level, coalesce((
    SELECT json_object_agg(d.rule, d.seen_until) FROM (
        SELECT k.rule, max(k.seen_until) AS seen_until FROM compliance_case k
        WHERE k.account_id = a.id AND k.asset = $2 AND k.state <> 'open' GROUP BY k.rule) AS d), '{}') AS decided
FROM account a WHERE a.id = $1

-- name: deposits
-- What came since a time, and not later than another one. The id begins with the time: it finds the rows.
SELECT amount FROM deposit
WHERE account_id = $1 AND id >= $5 AND asset = $2 AND state IN ('credited', 'finalized')
  AND created_at > $3 AND created_at <= $4
ORDER BY id DESC LIMIT $6

-- name: withdrawals
-- What was asked for since a time, and not later than another one.
SELECT coalesce(sum(amount), 0) AS amount, count(*) AS count FROM withdrawal
WHERE account_id = $1 AND asset = $2 AND created_at > $3 AND created_at <= $4
  AND state NOT IN ('rejected', 'canceled', 'failed')

-- name: played
-- What was bet since a day.
SELECT coalesce(sum(bet - refund), 0) FROM play_day WHERE account_id = $1 AND asset = $2 AND day >= $3
