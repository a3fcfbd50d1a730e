-- name: write
-- What a decision changes, at once: referrals that are held qualify and are looked at no more; their rewards; the tallies
-- that they count in, which are held; how many qualified, by level, in one order; and the events that tell it.
WITH qualified AS (
    UPDATE referral r
    SET state = 'qualified', deposit_id = n.deposit_id, round = r.round + 1, look_at = NULL, version = r.version + 1,
        updated_at = $1
    FROM unnest($3::uuid[], $4::uuid[]) AS n (account_id, deposit_id)
    WHERE r.account_id = n.account_id
    RETURNING r.account_id, r.ancestors, r.programme_id, r.terms_version, r.deposit_id, r.round
), rewarded AS (
    INSERT INTO referral_reward (id, account_id, round, level, referrer_id, programme_id, terms_version, deposit_id, asset,
                                 amount, state, findings, reason, due_at, day, version, created_at, updated_at)
    SELECT n.id, q.account_id, q.round, n.level, q.ancestors[n.level], q.programme_id, q.terms_version, q.deposit_id,
           n.asset, n.amount, n.state, string_to_array(n.findings, ','), n.reason, n.due_at, $2, 1, $1, $1
    FROM unnest($5::uuid[], $6::uuid[], $7::smallint[], $8::text[], $9::numeric[], $10::text[], $11::text[], $12::text[],
                $13::timestamptz[])
         AS n (id, account_id, level, asset, amount, state, findings, reason, due_at)
    JOIN qualified q USING (account_id)
), tallied AS (
    UPDATE referral_tally t SET open = t.open + n.open, paid = t.paid + n.paid
    FROM unnest($14::uuid[], $15::uuid[], $16::text[], $17::text[], $18::numeric[], $19::numeric[])
         AS n (referrer_id, programme_id, asset, scope, open, paid)
    WHERE t.referrer_id = n.referrer_id AND t.programme_id = n.programme_id AND t.asset = n.asset AND t.scope = n.scope
), counted AS (
    INSERT INTO referral_count AS c (referrer_id, level, referred, qualified)
    SELECT n.referrer_id, n.level, n.referred, n.qualified
    FROM unnest($20::uuid[], $21::smallint[], $22::bigint[], $23::bigint[]) AS n (referrer_id, level, referred, qualified)
    ORDER BY n.referrer_id, n.level
    ON CONFLICT (referrer_id, level) DO UPDATE
    SET referred = c.referred + excluded.referred, qualified = c.qualified + excluded.qualified
)
SELECT append_events($24, $25, $26, $27, $28, $29, $30)
