-- name: lock_of_rounds
-- What can still be reversed of these referrals' rounds, held.
SELECT w.*, (t.decimals ->> w.asset)::integer AS decimals
FROM unnest($1::uuid[], $2::integer[]) AS asked (account_id, round)
JOIN referral_reward w USING (account_id, round)
JOIN referral_terms t ON t.programme_id = w.programme_id AND t.version = w.terms_version
WHERE w.state IN ('held', 'flagged', 'paid')
ORDER BY w.id FOR NO KEY UPDATE OF w

-- name: lock
-- One reward, held.
SELECT w.*, (t.decimals ->> w.asset)::integer AS decimals
FROM referral_reward w JOIN referral_terms t ON t.programme_id = w.programme_id AND t.version = w.terms_version
WHERE w.id = $1 FOR NO KEY UPDATE OF w

-- name: move
-- Compare-and-set on state and version; what is NULL of reason and key stays.
UPDATE referral_reward w
SET state = n.state, findings = coalesce(string_to_array(n.findings, ','), w.findings),
    reason = coalesce(n.reason, w.reason), decided_by = coalesce(n.decided_by, w.decided_by),
    version = w.version + 1, updated_at = $8
FROM unnest($1::uuid[], $2::text[], $3::integer[], $4::text[], $5::text[], $6::text[], $7::text[])
     AS n (id, old_state, old_version, state, findings, reason, decided_by)
WHERE w.id = n.id AND w.state = n.old_state AND w.version = n.old_version
RETURNING w.*

-- name: change_tallies
-- Adds to tallies that are there, all of them held before one is changed, in one order by everybody.
WITH held AS MATERIALIZED (
    SELECT t.referrer_id, t.programme_id, t.asset, t.scope, n.open, n.paid
    FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::numeric[], $6::numeric[])
         AS n (referrer_id, programme_id, asset, scope, open, paid)
    JOIN referral_tally t ON (t.referrer_id, t.programme_id, t.asset, t.scope)
                           = (n.referrer_id, n.programme_id, n.asset, n.scope)
    ORDER BY t.referrer_id, t.programme_id, t.asset, t.scope FOR NO KEY UPDATE OF t
)
UPDATE referral_tally t SET open = t.open + h.open, paid = t.paid + h.paid
FROM held h
WHERE (SELECT count(*) FROM held) > 0
  AND t.referrer_id = h.referrer_id AND t.programme_id = h.programme_id AND t.asset = h.asset AND t.scope = h.scope
RETURNING t.scope
