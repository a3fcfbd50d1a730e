-- Chains whose money is the balances of accounts: what moves them, what is reserved of them, and their nonces.

-- What the nodes called final when we last looked, on our branch; never goes back. Null where depth alone decides.
ALTER TABLE chain ADD COLUMN final_height bigint;

-- A contract may pay more in one block than the same call would in another: where a transaction's hash does not commit
-- to what it pays, a digest of destination, asset and amount is part of the identity.
ALTER TABLE deposit ADD COLUMN content bytea NOT NULL DEFAULT '';
ALTER TABLE deposit DROP CONSTRAINT deposit_tx_hash_position_chain_key;
ALTER TABLE deposit ADD UNIQUE (tx_hash, position, chain, content);

ALTER TABLE lineage
    -- Money to others, or within the wallet: those who receive the latter have made no deposit.
    ADD COLUMN kind text NOT NULL DEFAULT 'payout' CHECK (kind IN ('payout', 'sweep', 'refill', 'void', 'setup')),
    -- What a setup or refill is for, so that it is done once.
    ADD COLUMN subject text,
    -- What the network took for the attempt that a block holds, where only the block tells.
    ADD COLUMN fee_paid numeric(78, 0),
    -- Where each payment of the batch is in it, null where it failed; null as a whole where no payment can fail.
    ADD COLUMN outcomes integer[];

CREATE INDEX lineage_by_subject ON lineage (chain, kind, subject) WHERE subject IS NOT NULL;

-- Only signed transactions of accounts have a hash.
ALTER TABLE attempt ALTER COLUMN tx_hash DROP NOT NULL;
ALTER TABLE attempt ADD CHECK (raw IS NULL OR tx_hash IS NOT NULL);
ALTER TABLE attempt RENAME COLUMN vsize TO size;
CREATE INDEX attempt_unsigned ON attempt (lineage_id) WHERE raw IS NULL;

-- Its payment failed in a batch once: it is tried again by itself.
ALTER TABLE withdrawal ADD COLUMN alone boolean NOT NULL DEFAULT false;

-- Our accounts that send, each with the next nonce that was never used. A row is locked while a nonce is taken.
CREATE TABLE sender (
    chain       text NOT NULL,
    account     bytea NOT NULL,
    next_nonce  bigint NOT NULL CHECK (next_nonce >= 0),
    PRIMARY KEY (chain, account)
);

-- An account's nonce is used by one transaction ever, as a coin is (P3). One that was given up unused is taken again.
CREATE TABLE nonce (
    chain       text NOT NULL,
    account     bytea NOT NULL,
    nonce       bigint NOT NULL CHECK (nonce >= 0),
    reserved_by uuid REFERENCES lineage,
    spent_by    bytea,
    spent_height bigint,
    PRIMARY KEY (chain, account, nonce),
    CHECK ((spent_by IS NULL) = (spent_height IS NULL))
);
CREATE INDEX nonce_free ON nonce (chain, account, nonce) WHERE reserved_by IS NULL AND spent_by IS NULL;
CREATE INDEX nonce_by_lineage ON nonce (reserved_by) WHERE reserved_by IS NOT NULL;
CREATE INDEX nonce_by_spent_height ON nonce (chain, spent_height) WHERE spent_height IS NOT NULL;

-- Every change of our accounts' balances, as the blocks say. A block that is left takes its rows with it.
CREATE TABLE movement (
    chain       text NOT NULL,
    tx_hash     bytea NOT NULL,
    number      integer NOT NULL,
    account     bytea NOT NULL,
    asset       text NOT NULL,
    delta       numeric(78, 0) NOT NULL CHECK (delta <> 0),
    height      bigint NOT NULL,
    PRIMARY KEY (chain, tx_hash, number)
);
CREATE INDEX movement_by_height ON movement (chain, height);
CREATE INDEX movement_by_account ON movement (chain, account);

-- The sum of an account's movements, and of what it had when we first looked.
CREATE TABLE holding (
    chain       text NOT NULL,
    account     bytea NOT NULL,
    asset       text NOT NULL,
    amount      numeric(78, 0) NOT NULL,
    PRIMARY KEY (chain, account, asset)
);
CREATE INDEX holding_by_amount ON holding (chain, asset, amount DESC);

-- The most that a transaction of ours takes from an account; counts while no block holds it.
CREATE TABLE reservation (
    lineage_id  uuid NOT NULL REFERENCES lineage,
    chain       text NOT NULL,
    account     bytea NOT NULL,
    asset       text NOT NULL,
    amount      numeric(78, 0) NOT NULL CHECK (amount > 0),
    PRIMARY KEY (lineage_id, account, asset)
);

-- What of the wallet could pay right now: free coins, or what the vault (the first sending account) has and is not
-- reserved.
CREATE VIEW spendable AS
SELECT c.chain, h.asset, sum(c.amount) AS amount
FROM coin c JOIN chain h USING (chain)
WHERE c.height <= h.height AND c.mature_height <= h.height AND c.reserved_by IS NULL AND c.spent_by IS NULL
GROUP BY c.chain, h.asset
UNION ALL
SELECT o.chain, o.asset, o.amount - coalesce((
    SELECT sum(r.amount) FROM reservation r JOIN lineage l ON l.id = r.lineage_id
    WHERE l.state = 'open' AND r.chain = o.chain AND r.account = o.account AND r.asset = o.asset), 0)
FROM holding o JOIN address a ON a.chain = o.chain AND a.destination = o.account
WHERE a.branch = 1 AND a.key_index = 0;
