-- name: waiting
-- Deposits that wait for a verdict and are asked about by now, the oldest first, and who paid them; those of an asset that is
-- in no settings wait on.
SELECT d.id, d.account_id, d.chain, d.asset, d.amount, d.tx_hash, d.created_at, q.unanswered_since,
       ARRAY(SELECT s.address FROM deposit_source s WHERE s.deposit_id = d.id ORDER BY s.address) AS addresses
FROM source_screening_queue q JOIN deposit d ON d.id = q.deposit_id AND d.asset = ANY ($2::text[])
WHERE q.ask_at IS NULL OR q.ask_at <= $3
ORDER BY q.deposit_id LIMIT $1

-- name: later
-- One that nobody answered about is asked about again.
UPDATE source_screening_queue SET unanswered_since = coalesce(unanswered_since, $2), ask_at = $3 WHERE deposit_id = $1

-- name: done
-- One that waits no more.
DELETE FROM source_screening_queue WHERE deposit_id = $1

-- name: add
-- A verdict; the first one counts.
INSERT INTO source_screening (deposit_id, verdict, answered, reference, created_at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (deposit_id) DO NOTHING RETURNING deposit_id
