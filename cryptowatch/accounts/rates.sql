-- name: write
-- The platform's word.
INSERT INTO asset_rate (asset, rate, updated_at)
SELECT asset, rate, $3 FROM unnest($1::text[], $2::numeric[]) AS new (asset, rate)
ON CONFLICT (asset) DO UPDATE SET rate = EXCLUDED.rate, updated_at = EXCLUDED.updated_at
WHERE asset_rate.updated_at <= EXCLUDED.updated_at

-- name: read
-- Those told since a time, or all.
SELECT asset, rate, updated_at FROM asset_rate WHERE $1::timestamptz IS NULL OR updated_at >= $1 ORDER BY asset
