-- name: insert
-- A programme; no row when its name is taken.
INSERT INTO referral_programme (id, name, state, is_default, terms_version, version, created_at, updated_at)
VALUES ($1, $2, 'active', $3, 1, 1, $4, $4)
ON CONFLICT (name) DO NOTHING
RETURNING id

-- name: insert_terms
-- The next version of a programme's terms.
INSERT INTO referral_terms (programme_id, version, terms, decimals, created_at) VALUES ($1, $2, $3, $4, $5)

-- name: one_at_a_time
-- Programmes are changed by one at a time: which of them is the default concerns all.
SELECT pg_advisory_xact_lock(hashtextextended('cryptowatch.referral_programme', 0))

-- name: default
-- The programme that is the default.
SELECT id FROM referral_programme WHERE is_default

-- name: change
-- A change of a programme.
UPDATE referral_programme
SET state = $2, is_default = $3, terms_version = $4, version = version + 1, updated_at = $5 WHERE id = $1

-- name: by_id
-- One programme with its terms in force.
SELECT p.*, t.terms FROM referral_programme p
JOIN referral_terms t ON t.programme_id = p.id AND t.version = p.terms_version
WHERE p.id = $1

-- name: id_by_name
-- The programme of a name.
SELECT id FROM referral_programme WHERE name = $1

-- name: newest
-- A page of programmes with their terms in force, newest first.
SELECT p.*, t.terms FROM referral_programme p
JOIN referral_terms t ON t.programme_id = p.id AND t.version = p.terms_version
WHERE $1::uuid IS NULL OR p.id < $1 ORDER BY p.id DESC LIMIT $2

-- name: give
-- Terms that settings give for the first time; no row when they did before, or settings of a later revision did.
INSERT INTO referral_settings (revision, digest, created_at)
SELECT $1, $2, $3 WHERE NOT EXISTS (SELECT FROM referral_settings WHERE revision > $1)
ON CONFLICT (revision, digest) DO NOTHING
RETURNING revision
