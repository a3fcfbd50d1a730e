-- name: move_referrals
-- Referrals that are held take a step; `round` rises where they qualify, and they are looked at no more.
UPDATE referral r
SET state = n.state, deposit_id = n.deposit_id, version = r.version + 1, updated_at = $4,
    round = r.round + CASE n.state WHEN 'qualified' THEN 1 ELSE 0 END,
    look_at = CASE n.state WHEN 'qualified' THEN NULL ELSE r.look_at END
FROM unnest($1::uuid[], $2::text[], $3::uuid[]) AS n (account_id, state, deposit_id)
WHERE r.account_id = n.account_id
RETURNING r.*

-- name: ancestors
-- The ancestors of accounts that were referred.
SELECT ancestors FROM referral WHERE account_id = ANY ($1)

-- name: change_counts
-- Adds to counts, in one order.
INSERT INTO referral_count AS c (referrer_id, level, referred, qualified)
SELECT n.referrer_id, n.level, n.referred, n.qualified
FROM unnest($1::uuid[], $2::smallint[], $3::bigint[], $4::bigint[]) AS n (referrer_id, level, referred, qualified)
ORDER BY n.referrer_id, n.level
ON CONFLICT (referrer_id, level) DO UPDATE
SET referred = c.referred + excluded.referred, qualified = c.qualified + excluded.qualified
