-- Transactions of ours that wait and whose fee cannot be raised any more.
SET LOCAL lock_timeout = '10s';

-- Why not, from when it was told until a block takes it or a replacement is made after all.
ALTER TABLE lineage ADD COLUMN stuck text;
