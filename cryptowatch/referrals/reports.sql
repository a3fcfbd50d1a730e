-- name: referral
-- One account's referral.
SELECT * FROM referral WHERE account_id = $1

-- name: referrals
-- Whom an account referred itself, newest accounts first.
SELECT * FROM referral
WHERE referrer_id = $1 AND ($2::uuid IS NULL OR account_id < $2) ORDER BY account_id DESC LIMIT $3

-- name: levels
-- How many stand below an account, by level.
SELECT level, referred, qualified, conversion_ppm FROM referral_conversion WHERE referrer_id = $1 ORDER BY level

-- name: earned
-- What an account has of rewards, by asset.
SELECT asset, sum(open) AS open, sum(paid) AS paid FROM referral_tally
WHERE referrer_id = $1 AND scope = 'all' GROUP BY asset ORDER BY asset

-- name: reward
-- One reward.
SELECT w.*, (t.decimals ->> w.asset)::integer AS decimals
FROM referral_reward w JOIN referral_terms t ON t.programme_id = w.programme_id AND t.version = w.terms_version
WHERE w.id = $1

-- name: rewards_newest
-- A page of all rewards, newest first.
SELECT w.*, (t.decimals ->> w.asset)::integer AS decimals
FROM referral_reward w JOIN referral_terms t ON t.programme_id = w.programme_id AND t.version = w.terms_version
WHERE $1::uuid IS NULL OR w.id < $1 ORDER BY w.id DESC LIMIT $2

-- name: rewards_by_state
-- A page of the rewards of one state, newest first.
SELECT w.*, (t.decimals ->> w.asset)::integer AS decimals
FROM referral_reward w JOIN referral_terms t ON t.programme_id = w.programme_id AND t.version = w.terms_version
WHERE w.state = $3 AND ($1::uuid IS NULL OR w.id < $1) ORDER BY w.id DESC LIMIT $2

-- name: rewards_by_referrer
-- A page of what one account earned, of one state or all, newest first.
SELECT w.*, (t.decimals ->> w.asset)::integer AS decimals
FROM referral_reward w JOIN referral_terms t ON t.programme_id = w.programme_id AND t.version = w.terms_version
WHERE w.referrer_id = $4 AND ($3::text IS NULL OR w.state = $3) AND ($1::uuid IS NULL OR w.id < $1)
ORDER BY w.id DESC LIMIT $2

-- name: decimals
-- Of an asset, as terms keep it.
SELECT (decimals ->> $1)::integer FROM referral_terms WHERE decimals ->> $1 IS NOT NULL LIMIT 1

-- name: best_paid
-- Who was paid most of an asset under a programme.
SELECT referrer_id, open, paid FROM referral_leaderboard
WHERE programme_id = $1 AND asset = $2 ORDER BY paid DESC, referrer_id LIMIT $3

-- name: best_referrers
-- Whose own referrals qualified most often, under all programmes.
SELECT referrer_id, referred, qualified FROM referral_count
WHERE level = 1 AND qualified > 0 ORDER BY qualified DESC, referrer_id LIMIT $1

-- name: cost
-- What a programme costs, by asset.
SELECT asset, referrers, open, paid FROM referral_cost WHERE programme_id = $1 ORDER BY asset
