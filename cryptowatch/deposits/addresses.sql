-- name: has_enough
-- Whether so many of the branch are derived and not given out, from this key.
SELECT EXISTS (SELECT FROM derivation WHERE chain = $1 AND scheme = $2 AND branch = $3 AND xpub = $5) AND $4 <= (
    SELECT count(*) FROM (
        SELECT FROM address WHERE chain = $1 AND scheme = $2 AND branch = $3 AND assigned_at IS NULL LIMIT $4) AS free)

-- name: lock_derivation
-- Holds the counter of a branch until the new addresses are committed.
INSERT INTO derivation (chain, scheme, branch, xpub) VALUES ($1, $2, $3, $4)
ON CONFLICT (chain, scheme, branch) DO UPDATE SET xpub = derivation.xpub
RETURNING xpub, next_index

-- name: count_free
-- How many are derived and not given out, up to a limit.
SELECT count(*) FROM (
    SELECT FROM address WHERE chain = $1 AND scheme = $2 AND branch = $3 AND assigned_at IS NULL LIMIT $4) AS free

-- name: insert_addresses
-- Addresses derived ahead.
INSERT INTO address (chain, destination, address, scheme, branch, key_index)
SELECT $1, u.destination, u.address, $2, $3, u.key_index
FROM unnest($4::bytea[], $5::text[], $6::bigint[]) AS u (destination, address, key_index)

-- name: move_derivation
-- The counter after deriving.
UPDATE derivation SET next_index = $4 WHERE chain = $1 AND scheme = $2 AND branch = $3

-- name: assign
-- The lowest free index: every index below is taken or being taken, so none is left out.
UPDATE address SET account_id = $3, assigned_at = $4
WHERE (chain, destination) = (
    SELECT chain, destination FROM address
    WHERE chain = $1 AND scheme = $2 AND branch = 0 AND assigned_at IS NULL
    ORDER BY key_index LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING address

-- name: latest_of_account
-- The address that an account was given last.
SELECT address FROM address WHERE account_id = $2 AND chain = $1 ORDER BY assigned_at DESC, key_index DESC LIMIT 1
