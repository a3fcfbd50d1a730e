-- Change of our own that no block holds yet, and transactions that pay for those they spend.
SET LOCAL lock_timeout = '10s';

-- What each attempt brings back to the wallet. It is a coin when a block holds it, or when another transaction of ours
-- reserves it before.
CREATE TABLE attempt_change (
    chain       text NOT NULL,
    resource    bytea NOT NULL,
    amount      numeric(78, 0) NOT NULL CHECK (amount > 0),
    destination bytea NOT NULL,
    lineage_id  uuid NOT NULL,
    number      integer NOT NULL,
    PRIMARY KEY (resource, chain),
    FOREIGN KEY (lineage_id, number) REFERENCES attempt ON DELETE CASCADE
);
CREATE INDEX attempt_change_by_attempt ON attempt_change (lineage_id, number);

-- A child moves change within the wallet, so that it and the transaction that it spends are mined together.
-- squawk-ignore ban-drop-constraint -- the next one allows more, and nothing less
ALTER TABLE lineage DROP CONSTRAINT lineage_kind_check;
ALTER TABLE lineage ADD CONSTRAINT lineage_kind_check CHECK (
    kind IN ('payout', 'sweep', 'refill', 'void', 'setup', 'overflow', 'cold_refill', 'consolidation', 'child')) NOT VALID;

-- What of it could be spent before a block holds it: of the newest attempts that a node took and nothing conflicts with.
-- What cold signed and what merges coins stays out of it.
CREATE VIEW pending_change AS
SELECT g.chain, g.resource, g.amount, g.destination, g.lineage_id
FROM lineage l JOIN attempt a ON a.lineage_id = l.id AND a.number = l.attempts
JOIN attempt_change g ON g.lineage_id = a.lineage_id AND g.number = a.number
WHERE l.state = 'open' AND l.conflict IS NULL AND l.kind IN ('payout', 'overflow', 'child')
  AND a.broadcast_at IS NOT NULL AND NOT a.void AND NOT EXISTS (
    SELECT FROM coin c WHERE c.resource = g.resource AND c.chain = g.chain
      AND (c.reserved_by IS NOT NULL OR c.spent_by IS NOT NULL OR c.height IS NOT NULL));
