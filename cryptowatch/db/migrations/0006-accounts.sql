-- Chains whose money is the balances of accounts: what moves them, what is reserved of them, and their nonces.

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
    account     bytea NOT NULL,
    asset       text NOT NULL,
    delta       numeric(78, 0) NOT NULL CHECK (delta <> 0),
    height      bigint NOT NULL,
    PRIMARY KEY (tx_hash, account, asset, chain)
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
CREATE INDEX reservation_by_account ON reservation (account, asset, chain);

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
