-- Batches of one kind lock accounts in their order however few there are; who was left out of which transaction.
SET LOCAL lock_timeout = '10s';

-- In a small table, or one that was never analyzed, reading all of it was the cheapest way of joining: then the rows were
-- locked as they stand on the disk, and batches that ran at once waited for each other until one of them was ended. What is
-- left reads accounts by their index, from the batch in its order or all in theirs.
ALTER FUNCTION ledger_post_alike(text, bigint, text[], bigint[], numeric[], timestamptz) SET enable_seqscan = off;

-- As before, with the transaction of which it was: by the time that its row is locked it may be in another one, which pays it.
CREATE OR REPLACE VIEW left_out AS
SELECT w.id, l.state AS lineage_state, l.id AS lineage_id
FROM withdrawal w JOIN lineage l ON l.id = w.lineage_id JOIN attempt a ON a.chain = l.chain AND a.tx_hash = l.tx_hash
WHERE w.state IN ('sending', 'confirmed') AND cardinality(a.positions) BETWEEN 1 AND w.batch_place - 1;
