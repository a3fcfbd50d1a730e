-- name: lock_referrals
-- What may change of these referrals: their acts may be done, or their deposits gone. Held, in one order by everybody.
SELECT r.*, t.terms, a.kyc_level
FROM referral r
JOIN referral_terms t ON t.programme_id = r.programme_id AND t.version = r.terms_version
JOIN account a ON a.id = r.account_id
WHERE r.account_id = ANY ($1) AND (r.state = 'pending' OR r.deposit_id IS NOT NULL)
ORDER BY r.account_id FOR NO KEY UPDATE OF r

-- name: gone
-- Which of these deposits are not final any more.
SELECT id FROM deposit WHERE id = ANY ($1) AND state <> 'finalized'

-- name: deposits
-- The first final deposit of at least so much, of each account and asset, since the account was referred.
SELECT asked.account_id, d.id, d.asset, d.amount
FROM unnest($1::uuid[], $2::text[], $3::numeric[]) AS asked (account_id, asset, minimum)
JOIN referral r ON r.account_id = asked.account_id
CROSS JOIN LATERAL (
    SELECT f.id, f.asset, f.amount FROM deposit f
    WHERE f.account_id = asked.account_id AND f.asset = asked.asset AND f.state = 'finalized'
      AND f.amount >= asked.minimum AND f.created_at >= r.attributed_at
    ORDER BY f.id LIMIT 1) AS d

-- name: bets
-- What each account bet of an asset since the day on which it was referred, without what was refunded of it.
SELECT asked.account_id, coalesce(sum(p.bet - p.refund), 0) AS bet
FROM unnest($1::uuid[], $2::text[]) AS asked (account_id, asset)
JOIN referral r ON r.account_id = asked.account_id
JOIN play_day p ON p.account_id = asked.account_id AND p.asset = asked.asset
               AND p.day >= (r.attributed_at AT TIME ZONE 'UTC')::date
GROUP BY asked.account_id

-- name: ties
-- What referred accounts and their ancestors have to do with each other, in the order asked. What many may share is
-- looked at a hundred times at most.
SELECT ARRAY(SELECT DISTINCT t.kind FROM account_trait t
             JOIN account_trait o ON o.account_id = asked.referrer_id AND o.kind = t.kind AND o.value = t.value
             WHERE t.account_id = asked.account_id) AS shared,
       EXISTS (SELECT FROM account_trait t
               JOIN account_trait o ON o.account_id = asked.referrer_id AND o.value = t.value
               WHERE t.account_id = asked.account_id AND (t.kind, o.kind) IN (
                   ('funding_address', 'withdrawal_address'), ('withdrawal_address', 'funding_address'))) AS crossed,
       EXISTS (SELECT FROM account_trait t
               CROSS JOIN LATERAL (SELECT o.account_id FROM account_trait o
                                   WHERE o.kind = t.kind AND o.value = t.value AND o.account_id <> t.account_id
                                   LIMIT 100) AS other
               JOIN referral s ON s.account_id = other.account_id AND s.referrer_id = r.referrer_id
               WHERE t.account_id = asked.account_id AND t.kind = 'device') AS siblings,
       CASE WHEN asked.pace_count IS NULL THEN 0
            ELSE (SELECT count(*) FROM (
                      SELECT FROM referral v
                      WHERE v.referrer_id = r.referrer_id AND v.attributed_at <= r.attributed_at
                        AND v.attributed_at > r.attributed_at - asked.pace_s * interval '1 second'
                      LIMIT asked.pace_count + 1) AS recent) END AS recent,
       r.circular, a.status = 'active' AND b.status = 'active' AS both_active
FROM unnest($1::uuid[], $2::uuid[], $3::integer[], $4::integer[]) WITH ORDINALITY
     AS asked (account_id, referrer_id, pace_count, pace_s, ordinal)
JOIN referral r ON r.account_id = asked.account_id
JOIN account a ON a.id = asked.account_id
JOIN account b ON b.id = asked.referrer_id
ORDER BY asked.ordinal
