-- name: due
-- Rewards whose hold period is over, of programmes that pay, for what is still final; each held by one payer.
SELECT w.*, (t.decimals ->> w.asset)::integer AS decimals
FROM referral_reward w
JOIN referral_terms t ON t.programme_id = w.programme_id AND t.version = w.terms_version
JOIN referral_programme p ON p.id = w.programme_id AND p.state <> 'paused'
WHERE w.state = 'held' AND w.due_at <= $1
  AND (w.deposit_id IS NULL OR EXISTS (SELECT FROM deposit d WHERE d.id = w.deposit_id AND d.state = 'finalized'))
ORDER BY w.due_at, w.id LIMIT $2
FOR NO KEY UPDATE OF w SKIP LOCKED

-- name: to_look_at
-- Referrals whose act is what their accounts play, when it is time to look again.
UPDATE referral SET look_at = $3
WHERE account_id IN (
    SELECT account_id FROM referral WHERE look_at <= $1 ORDER BY look_at LIMIT $2
    FOR NO KEY UPDATE SKIP LOCKED)
RETURNING account_id
