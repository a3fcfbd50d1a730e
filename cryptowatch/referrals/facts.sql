-- name: lock_referrals
-- What may change of these referrals: their acts may be done, or their deposits gone. Held, in one order by everybody.
-- With the first final deposit since that is enough for the act, of those terms whose minima are asked with; looked for among
-- the account's own (`|| ''`: on a new database the plan is made before it is known how many are final, and kept, so it is
-- not to depend on that).
SELECT r.*, a.kyc_level, enough.id AS enough_id, enough.asset AS enough_asset, enough.amount AS enough_amount,
       coalesce((SELECT g.state <> 'finalized' FROM deposit g WHERE g.id = r.deposit_id), false) AS gone
FROM referral r
JOIN account a ON a.id = r.account_id
LEFT JOIN LATERAL (
    SELECT first.* FROM unnest($2::uuid[], $3::integer[], $4::text[], $5::numeric[])
         AS asked (programme_id, terms_version, asset, minimum)
    CROSS JOIN LATERAL (
        SELECT f.id, f.asset, f.amount FROM deposit f
        WHERE f.account_id = r.account_id AND f.asset = asked.asset AND f.state || '' = 'finalized'
          AND f.amount >= asked.minimum AND f.created_at >= r.attributed_at
        ORDER BY f.id LIMIT 1) AS first
    WHERE r.state = 'pending' AND asked.programme_id = r.programme_id AND asked.terms_version = r.terms_version
    ORDER BY first.id LIMIT 1) AS enough ON true
WHERE r.account_id = ANY ($1) AND r.programme_id IS NOT NULL AND (r.state = 'pending' OR r.deposit_id IS NOT NULL)
ORDER BY r.account_id FOR NO KEY UPDATE OF r

-- name: terms
-- Versions of terms.
SELECT t.programme_id, t.version AS terms_version, t.terms, t.decimals
FROM unnest($1::uuid[], $2::integer[]) AS asked (programme_id, version)
JOIN referral_terms t USING (programme_id, version)

-- name: bets
-- What each account bet of an asset since the day on which it was referred, without what was refunded of it.
SELECT asked.account_id, coalesce(sum(p.bet - p.refund), 0) AS bet
FROM unnest($1::uuid[], $2::text[]) AS asked (account_id, asset)
JOIN referral r ON r.account_id = asked.account_id
JOIN play_day p ON p.account_id = asked.account_id AND p.asset = asked.asset
               AND p.day >= (r.attributed_at AT TIME ZONE 'UTC')::date
GROUP BY asked.account_id

-- name: weigh
-- What rewards are weighed by. First tallies, held in one order by everybody; those that are not there yet begin at nothing,
-- and one that another transaction begins at this moment is missing in the answer. Then, with their places in the order
-- asked, what referred accounts and their ancestors have to do with each other: what many may share is looked at a hundred
-- times at most.
WITH asked AS (
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[]) AS n (referrer_id, programme_id, asset, scope)
), held AS (
    SELECT t.* FROM asked
    JOIN referral_tally t USING (referrer_id, programme_id, asset, scope)
    ORDER BY t.referrer_id, t.programme_id, t.asset, t.scope FOR NO KEY UPDATE OF t
), begun AS (
    INSERT INTO referral_tally (referrer_id, programme_id, asset, scope, open, paid)
    SELECT a.*, 0, 0 FROM asked a
    WHERE NOT EXISTS (SELECT FROM held h WHERE (h.referrer_id, h.programme_id, h.asset, h.scope)
                                             = (a.referrer_id, a.programme_id, a.asset, a.scope))
    ORDER BY a.referrer_id, a.programme_id, a.asset, a.scope COLLATE "C"
    ON CONFLICT DO NOTHING
    RETURNING *
)
SELECT t.referrer_id, t.programme_id, t.asset, t.scope, t.open + t.paid AS counted,
       NULL::bigint AS place, NULL::text[] AS shared, NULL::boolean AS crossed, NULL::boolean AS siblings,
       NULL::bigint AS recent, NULL::boolean AS circular, NULL::boolean AS both_active
FROM (SELECT * FROM held UNION ALL SELECT * FROM begun) AS t
UNION ALL
SELECT NULL, NULL, NULL, NULL, NULL, tied.place,
       ARRAY(SELECT DISTINCT t.kind FROM account_trait t
             JOIN account_trait o ON o.account_id = tied.referrer_id AND o.kind = t.kind AND o.value = t.value
             WHERE t.account_id = tied.account_id),
       EXISTS (SELECT FROM account_trait t
               JOIN account_trait o ON o.account_id = tied.referrer_id AND o.value = t.value
               WHERE t.account_id = tied.account_id AND (t.kind, o.kind) IN (
                   ('funding_address', 'withdrawal_address'), ('withdrawal_address', 'funding_address'))),
       EXISTS (SELECT FROM account_trait t
               CROSS JOIN LATERAL (SELECT o.account_id FROM account_trait o
                                   WHERE o.kind = t.kind AND o.value = t.value AND o.account_id <> t.account_id
                                   LIMIT 100) AS other
               JOIN referral s ON s.account_id = other.account_id AND s.referrer_id = r.referrer_id
               WHERE t.account_id = tied.account_id AND t.kind = 'device'),
       CASE WHEN tied.pace_count IS NULL THEN 0
            ELSE (SELECT count(*) FROM (
                      SELECT FROM referral v
                      WHERE v.referrer_id = r.referrer_id AND v.attributed_at <= r.attributed_at
                        AND v.attributed_at > r.attributed_at - tied.pace_s * interval '1 second'
                      LIMIT tied.pace_count + 1) AS recent) END,
       r.circular, a.status = 'active' AND b.status = 'active'
FROM unnest($5::uuid[], $6::uuid[], $7::integer[], $8::integer[]) WITH ORDINALITY
     AS tied (account_id, referrer_id, pace_count, pace_s, place)
JOIN referral r ON r.account_id = tied.account_id
JOIN account a ON a.id = tied.account_id
JOIN account b ON b.id = tied.referrer_id
