-- Many small coins into one, while fees are low.
SET LOCAL lock_timeout = '10s';

-- squawk-ignore ban-drop-constraint
ALTER TABLE lineage DROP CONSTRAINT lineage_kind_check;
ALTER TABLE lineage ADD CONSTRAINT lineage_kind_check CHECK (
    kind IN ('payout', 'sweep', 'refill', 'void', 'setup', 'overflow', 'cold_refill', 'consolidation')) NOT VALID;
