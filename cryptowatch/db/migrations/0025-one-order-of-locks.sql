-- Batches of one kind lock accounts in their order however few there are.
SET LOCAL lock_timeout = '10s';

-- In a small table, or one that was never analyzed, reading all of it was the cheapest way of joining: then the rows were
-- locked as they stand on the disk, and batches that ran at once waited for each other until one of them was ended. What is
-- left reads accounts by their index, from the batch in its order or all in theirs.
ALTER FUNCTION ledger_post_alike(text, bigint, text[], bigint[], numeric[], timestamptz) SET enable_seqscan = off;
