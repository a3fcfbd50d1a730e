-- name: note_level
-- The level of a slot: the first survey in it tells.
INSERT INTO fee_level (chain, slot, level) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING

-- name: forget_levels
-- What is older than anybody asks for.
DELETE FROM fee_level WHERE chain = $1 AND slot <= $2

-- name: recent_levels
-- Newest first.
SELECT level FROM fee_level WHERE chain = $1 AND slot > $2 ORDER BY slot DESC

-- name: store_quote
-- The newest quote, whichever process made it.
INSERT INTO fee_quote AS q (chain, quoted_at, document) VALUES ($1, $2, $3)
ON CONFLICT (chain) DO UPDATE SET quoted_at = excluded.quoted_at, document = excluded.document
WHERE q.quoted_at < excluded.quoted_at
