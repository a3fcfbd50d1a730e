-- The market of fees as it was last surveyed, per chain: what GET /v1/fees shows. A measurement, not a state.
CREATE TABLE fee_quote (
    chain       text NOT NULL PRIMARY KEY,
    quoted_at   timestamptz NOT NULL,
    document    jsonb NOT NULL
);

-- The level of fees in the last days, one row for each slot of time: what says whether now is dear.
CREATE TABLE fee_level (
    chain       text NOT NULL,
    slot        timestamptz NOT NULL,
    -- In the family's unit (sat/kvB, wei per gas).
    level       numeric(78, 0) NOT NULL,
    PRIMARY KEY (chain, slot)
);
