-- name: unknown
-- Of these deposits those of a chain whose sources nobody asked for yet, and that are in a block.
SELECT d.id, d.account_id, d.asset, d.tx_hash, d.position, d.block_hash, d.created_at FROM deposit d
WHERE d.id = ANY ($2::uuid[]) AND d.chain = $1 AND d.block_hash IS NOT NULL
  AND NOT EXISTS (SELECT FROM deposit_source s WHERE s.deposit_id = d.id)
ORDER BY d.id

-- name: add
-- From where a deposit came.
INSERT INTO deposit_source (deposit_id, address, denied, created_at)
SELECT $1, address, denied, $4 FROM unnest($2::text[], $3::boolean[]) AS new (address, denied)
ON CONFLICT (deposit_id, address) DO NOTHING

-- name: show
-- The screening provider is to be asked about a deposit.
INSERT INTO source_screening_queue (deposit_id) VALUES ($1) ON CONFLICT (deposit_id) DO NOTHING
