-- name: our_destinations
-- Which of these are ours, and whose, with what decides about a new deposit, and the account in the ledger of one asset.
SELECT a.destination, a.address, a.branch, a.account_id, account.status, account.deposit_limited,
    l.id AS ledger_account
FROM address a
LEFT JOIN account ON account.id = a.account_id
LEFT JOIN ledger_account l
    ON l.owner_id = a.account_id AND l.asset = $3 AND l.role = 'main' AND l.owner_kind = 'player'
WHERE a.chain = $1 AND a.destination = ANY($2::bytea[])

-- name: remember_resources
-- What transactions use that had no deposits before.
INSERT INTO deposit_resource (chain, resource, tx_hash)
SELECT $1, u.resource, u.tx_hash FROM unnest($2::bytea[], $3::bytea[]) AS u (resource, tx_hash)

-- name: remember_resources_again
-- The same of any.
INSERT INTO deposit_resource (chain, resource, tx_hash)
SELECT $1, u.resource, u.tx_hash FROM unnest($2::bytea[], $3::bytea[]) AS u (resource, tx_hash)
ON CONFLICT DO NOTHING
