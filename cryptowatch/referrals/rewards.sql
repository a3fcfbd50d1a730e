-- name: lock_of_rounds
-- What can still be reversed of these referrals' rounds, held.
SELECT w.* FROM unnest($1::uuid[], $2::integer[]) AS asked (account_id, round)
JOIN referral_reward w USING (account_id, round)
WHERE w.state IN ('held', 'flagged', 'paid')
ORDER BY w.id FOR NO KEY UPDATE OF w

-- name: lock
-- One reward, held.
SELECT * FROM referral_reward WHERE id = $1 FOR NO KEY UPDATE

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

-- name: hold_tallies
-- Tallies, held in one order by everybody; those that are not there yet begin at nothing. One that another transaction
-- begins at this moment is missing in the answer.
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
SELECT * FROM held UNION ALL SELECT * FROM begun

-- name: change_tallies
-- Adds to tallies that are held.
UPDATE referral_tally t SET open = t.open + n.open, paid = t.paid + n.paid
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::numeric[], $6::numeric[])
     AS n (referrer_id, programme_id, asset, scope, open, paid)
WHERE t.referrer_id = n.referrer_id AND t.programme_id = n.programme_id AND t.asset = n.asset AND t.scope = n.scope
