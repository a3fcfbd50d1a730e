-- name: by_id
-- One deposit, with its address and how far its chain is applied.
SELECT d.*, a.address, coalesce(c.height, 0) AS head_height
FROM deposit d JOIN address a USING (chain, destination) LEFT JOIN chain c ON c.chain = d.chain
WHERE d.id = $1

-- name: newest
-- A page of all deposits, newest first; the filters leave rows out.
SELECT d.*, a.address, coalesce(c.height, 0) AS head_height
FROM deposit d JOIN address a USING (chain, destination) LEFT JOIN chain c ON c.chain = d.chain
WHERE ($1::uuid IS NULL OR d.id < $1) AND ($3::text IS NULL OR d.chain = $3)
ORDER BY d.id DESC LIMIT $2

-- name: newest_by_state
-- The same of one state.
SELECT d.*, a.address, coalesce(c.height, 0) AS head_height
FROM deposit d JOIN address a USING (chain, destination) LEFT JOIN chain c ON c.chain = d.chain
WHERE d.state = $4 AND ($1::uuid IS NULL OR d.id < $1) AND ($3::text IS NULL OR d.chain = $3)
ORDER BY d.id DESC LIMIT $2

-- name: newest_by_account
-- The same of one account, optionally of one state.
SELECT d.*, a.address, coalesce(c.height, 0) AS head_height
FROM deposit d JOIN address a USING (chain, destination) LEFT JOIN chain c ON c.chain = d.chain
WHERE d.account_id = $5 AND ($1::uuid IS NULL OR d.id < $1) AND ($3::text IS NULL OR d.chain = $3)
  AND ($4::text IS NULL OR d.state = $4)
ORDER BY d.id DESC LIMIT $2
