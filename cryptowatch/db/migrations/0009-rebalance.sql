-- Cold wallets, and money on its way between them and the hot ones.
SET LOCAL lock_timeout = '10s';

-- Branch 2 is where a cold wallet receives, branch 3 its change: ours, and never anybody's.
-- squawk-ignore ban-drop-constraint -- the next one allows more, and nothing less
ALTER TABLE address DROP CONSTRAINT address_check;
ALTER TABLE address ADD CONSTRAINT address_check CHECK (
    CASE branch WHEN 0 THEN (account_id IS NULL) = (assigned_at IS NULL) ELSE account_id IS NULL END) NOT VALID;
CREATE INDEX address_cold ON address (chain, destination) WHERE branch >= 2;

-- squawk-ignore ban-drop-constraint -- as above
ALTER TABLE lineage DROP CONSTRAINT lineage_kind_check;
ALTER TABLE lineage ADD CONSTRAINT lineage_kind_check CHECK (
    kind IN ('payout', 'sweep', 'refill', 'void', 'setup', 'overflow', 'cold_refill')) NOT VALID;

-- One movement between the hot and the cold wallet of a chain. Its transaction's fate is read from the lineage.
CREATE TABLE rebalance (
    id          uuid PRIMARY KEY,
    chain       text NOT NULL,
    asset       text NOT NULL,
    -- overflow: hot to cold. refill: cold to hot.
    direction   text NOT NULL CHECK (direction IN ('overflow', 'refill')),
    amount      numeric(78, 0) NOT NULL CHECK (amount > 0),
    state       text NOT NULL CHECK (state IN ('requested', 'proposed', 'signed', 'broadcast', 'finalized',
                                               'failed', 'canceled', 'expired')),
    reason      text,
    -- The key that asked for it; null where the band did.
    requested_by text,
    address     text,
    lineage_id  uuid REFERENCES lineage,
    -- What a refill's signer needs: a PSBT, or an unsigned transaction; and its plan, as `chains.plans` writes it.
    artefact    text,
    -- Null where a contract pays, whose owners make the transaction: it is known once a block holds it for good.
    plan        json,
    seen_tx_hash bytea,
    -- The chain's height when it was proposed: what came before is not it.
    proposed_height bigint,
    version     integer NOT NULL,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL,
    CHECK (state IN ('requested', 'proposed', 'canceled', 'expired', 'failed')
           OR lineage_id IS NOT NULL OR seen_tx_hash IS NOT NULL)
);
-- Never two at once, whoever asks and how many daemons run.
CREATE UNIQUE INDEX rebalance_open ON rebalance (chain, asset)
    WHERE state IN ('requested', 'proposed', 'signed', 'broadcast');
-- One transaction of a contract is one refill of an asset.
CREATE UNIQUE INDEX rebalance_seen ON rebalance (seen_tx_hash, chain, asset) WHERE seen_tx_hash IS NOT NULL;
CREATE INDEX rebalance_by_lineage ON rebalance (lineage_id) WHERE lineage_id IS NOT NULL;

-- What of the hot wallet could pay right now: without what is cold.
CREATE OR REPLACE VIEW spendable AS
SELECT c.chain, h.asset, sum(c.amount) AS amount
FROM coin c JOIN chain h USING (chain)
WHERE c.height <= h.height AND c.mature_height <= h.height AND c.reserved_by IS NULL AND c.spent_by IS NULL
  AND NOT EXISTS (
    SELECT FROM address a WHERE a.chain = c.chain AND a.destination = c.destination AND a.branch >= 2)
GROUP BY c.chain, h.asset
UNION ALL
SELECT o.chain, o.asset, o.amount - coalesce((
    SELECT sum(r.amount) FROM reservation r JOIN lineage l ON l.id = r.lineage_id
    WHERE l.state = 'open' AND r.chain = o.chain AND r.account = o.account AND r.asset = o.asset), 0)
FROM holding o JOIN address a ON a.chain = o.chain AND a.destination = o.account
WHERE a.branch = 1 AND a.key_index = 0;
