-- Transactions of ours that wait and whose fee cannot be raised any more.
SET LOCAL lock_timeout = '10s';

-- Why not, from when it was told until a block takes it or a replacement is made after all.
ALTER TABLE lineage ADD COLUMN stuck text;

-- A final block holds an older attempt, which pays fewer: the others' payouts are made again, so that this attempt is
-- never sent again, not even when that block is left.
ALTER TABLE attempt ADD COLUMN void boolean NOT NULL DEFAULT false;

-- Payouts that joined their transaction with a replacement, while a block holds an older attempt, which does not pay them.
CREATE VIEW left_out AS
SELECT w.id, l.state AS lineage_state
FROM withdrawal w JOIN lineage l ON l.id = w.lineage_id JOIN attempt a ON a.chain = l.chain AND a.tx_hash = l.tx_hash
WHERE w.state IN ('sending', 'confirmed') AND cardinality(a.positions) BETWEEN 1 AND w.batch_place - 1;
