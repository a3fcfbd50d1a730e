-- name: undo
-- Referrals that are held are pending again.
UPDATE referral SET state = 'pending', deposit_id = NULL, version = version + 1, updated_at = $2
WHERE account_id = ANY ($1)
RETURNING *

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
