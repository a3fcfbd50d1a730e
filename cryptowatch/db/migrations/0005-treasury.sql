-- What the ledger says that a chain holds against what it holds: the last finding per asset.
CREATE TABLE reconciliation (
    chain       text NOT NULL,
    asset       text NOT NULL,
    state       text NOT NULL CHECK (state IN ('balanced', 'mismatch')),
    -- Base units on the chain beyond what the books explain; below zero, money is missing.
    difference  numeric(78, 0) NOT NULL,
    -- Counts its events, not its checks.
    version     integer NOT NULL,
    checked_at  timestamptz NOT NULL,
    PRIMARY KEY (chain, asset)
);
