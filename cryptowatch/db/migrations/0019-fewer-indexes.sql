-- A full block writes tens of thousands of deposits and coins: each index on them is an entry for each.
SET LOCAL lock_timeout = '10s';

-- What waits for a threshold is found by it (`deposit_due`); by its block only what waits for none. A threshold never
-- lies below its block.
-- squawk-ignore require-concurrent-index-deletion -- not in a transaction; it takes a moment
DROP INDEX deposit_by_block;
CREATE INDEX deposit_settled ON deposit (chain, block_height) WHERE due_height IS NULL;

-- Unspent coins by height; a coin that is spent is found by the height of its use, which is never below its own.
-- squawk-ignore require-concurrent-index-deletion -- not in a transaction; it takes a moment
DROP INDEX coin_free;
-- squawk-ignore require-concurrent-index-deletion -- not in a transaction; it takes a moment
DROP INDEX coin_by_height;
CREATE INDEX coin_unspent ON coin (chain, height) WHERE spent_by IS NULL;
