-- name: lock_head
-- The chain's height and what is final of it, held against blocks until the transaction ends.
SELECT height, final_height FROM chain WHERE chain = $1 FOR NO KEY UPDATE

-- name: lock_deposit
-- One deposit with its address.
SELECT d.*, a.address FROM deposit d JOIN address a USING (chain, destination)
WHERE d.id = $1 AND d.chain = $2 FOR NO KEY UPDATE OF d
