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

-- name: newest_finalized
-- The same of the finalized, which nearly all are: the walk over all soon has a page of them. CASE, because Postgres
-- may have looked last when none was final, and then would rather read and sort all.
SELECT d.*, a.address, coalesce(c.height, 0) AS head_height
FROM deposit d JOIN address a USING (chain, destination) LEFT JOIN chain c ON c.chain = d.chain
WHERE CASE d.state WHEN 'finalized' THEN true ELSE false END
  AND ($1::uuid IS NULL OR d.id < $1) AND ($3::text IS NULL OR d.chain = $3)
ORDER BY d.id DESC LIMIT $2

-- name: newest_credited
-- The same of the credited: they all wait for a threshold, and each page is chosen from all that wait.
SELECT d.*, a.address, coalesce(c.height, 0) AS head_height
FROM (SELECT * FROM (SELECT * FROM deposit w
                     WHERE w.due_height IS NOT NULL AND w.state = 'credited' AND ($3::text IS NULL OR w.chain = $3)
                     OFFSET 0) AS waiting
      WHERE $1::uuid IS NULL OR waiting.id < $1
      ORDER BY waiting.id DESC LIMIT $2) AS d
JOIN address a USING (chain, destination) LEFT JOIN chain c ON c.chain = d.chain
ORDER BY d.id DESC

-- name: newest_by_state
-- The same of one of the other states.
SELECT d.*, a.address, coalesce(c.height, 0) AS head_height
FROM deposit d JOIN address a USING (chain, destination) LEFT JOIN chain c ON c.chain = d.chain
WHERE d.state = $4 AND d.state NOT IN ('credited', 'finalized')
  AND ($1::uuid IS NULL OR d.id < $1) AND ($3::text IS NULL OR d.chain = $3)
ORDER BY d.id DESC LIMIT $2

-- name: newest_by_account
-- The same of one account, optionally of one state.
SELECT d.*, a.address, coalesce(c.height, 0) AS head_height
FROM deposit d JOIN address a USING (chain, destination) LEFT JOIN chain c ON c.chain = d.chain
WHERE d.account_id = $5 AND ($1::uuid IS NULL OR d.id < $1) AND ($3::text IS NULL OR d.chain = $3)
  AND ($4::text IS NULL OR d.state = $4)
ORDER BY d.id DESC LIMIT $2
