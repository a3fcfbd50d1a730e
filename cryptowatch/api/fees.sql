-- name: quote
-- What the last survey of the chain's fees wrote down.
SELECT document FROM fee_quote WHERE chain = $1
