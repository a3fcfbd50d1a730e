-- name: code
-- Whom a code refers to, under which programme (its own or the default one, where it is active), and who is above them.
SELECT c.account_id AS referrer_id, c.code, p.id AS programme_id, p.terms_version, t.terms, r.ancestors
FROM referral_code c
LEFT JOIN referral_programme p
    ON p.state = 'active' AND CASE WHEN c.programme_id IS NULL THEN p.is_default ELSE p.id = c.programme_id END
LEFT JOIN referral_terms t ON t.programme_id = p.id AND t.version = p.terms_version
LEFT JOIN referral r ON r.account_id = c.account_id
WHERE c.code = $1 AND c.disabled_at IS NULL

-- name: one_at_a_time
-- Codes that are entered later, which alone can close a circle, see each other.
SELECT pg_advisory_xact_lock(hashtextextended('cryptowatch.referral_later', 0))

-- name: stands_above
-- Whether $1 is found on the way up from $2, within so many steps.
WITH RECURSIVE up (account_id, step) AS (
    SELECT $2::uuid, 1
    UNION ALL
    SELECT r.referrer_id, up.step + 1 FROM up JOIN referral r ON r.account_id = up.account_id
    WHERE up.step < $3 AND up.account_id <> $1
)
SELECT EXISTS (SELECT FROM up WHERE account_id = $1)

-- name: has_referred
-- Whether anybody came by this account.
SELECT EXISTS (SELECT FROM referral WHERE referrer_id = $1)

-- name: insert
-- A referral; no row when the account was referred before.
INSERT INTO referral (account_id, referrer_id, ancestors, code, programme_id, terms_version, state, round, circular,
                      look_at, version, attributed_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, 'pending', 0, $7, $8, 1, $9, $9)
ON CONFLICT (account_id) DO NOTHING
RETURNING *

-- name: referrer
-- Who referred an account.
SELECT referrer_id FROM referral WHERE account_id = $1
