-- Which transactions nodes really took, and change that will never be.
SET LOCAL lock_timeout = '10s';

-- When a quorum of nodes had it at once. Of one that none did no payout is known to be on its way but by our own word.
ALTER TABLE attempt ADD COLUMN taken_at timestamptz;
ALTER TABLE attempt ADD CONSTRAINT attempt_taken_is_signed CHECK (taken_at IS NULL OR raw IS NOT NULL) NOT VALID;

-- Change of attempts that lost, once that is final: another attempt is, or the transaction is dead. It never will be a coin,
-- though another transaction of ours may have reserved it as one.
CREATE VIEW lost_change AS
SELECT g.chain, g.resource FROM attempt_change g
JOIN attempt a ON a.lineage_id = g.lineage_id AND a.number = g.number JOIN lineage l ON l.id = g.lineage_id
WHERE l.state = 'dead' OR (l.state = 'finalized' AND l.tx_hash IS DISTINCT FROM a.tx_hash);
