-- name: chains
-- Every chain that is followed, with the last block that is applied.
SELECT chain, height, hash, final_height, halted, halted_at, updated_at FROM chain ORDER BY chain

-- name: nodes
-- The last state of each node that an event told.
SELECT chain, name, state FROM node ORDER BY chain, name
