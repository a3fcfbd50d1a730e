-- name: secrets
-- Every endpoint's secrets as they are kept, held until the transaction ends.
SELECT id, secret, previous_secret FROM webhook_endpoint WHERE state <> 'deleted' ORDER BY id FOR NO KEY UPDATE

-- name: reseal
-- The same secrets under another key: nothing that anybody sees changes.
UPDATE webhook_endpoint SET secret = $2, previous_secret = $3 WHERE id = $1
