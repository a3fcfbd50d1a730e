-- Payouts of one asset stop while its books and its chain differ, and go on when the difference is explained (P7).

-- Assets of which nothing more is paid out: less is there than the books say. On the chain's row, which whatever sends
-- holds, so that nothing is planned after the stop.
ALTER TABLE chain ADD COLUMN stopped_assets text[] NOT NULL DEFAULT '{}';
UPDATE chain SET stopped_assets = m.assets
FROM (SELECT chain, array_agg(asset ORDER BY asset) AS assets FROM reconciliation WHERE state = 'mismatch' GROUP BY chain) AS m
WHERE chain.chain = m.chain;

-- What a transaction pays to others; null for what stays within the wallet.
ALTER TABLE lineage ADD COLUMN asset text;
UPDATE lineage SET asset = w.asset FROM withdrawal w WHERE w.lineage_id = lineage.id;

-- Since when the finding is what it is, and the least that was there too much since a height: what stays until that
-- height is final is the house's own.
ALTER TABLE reconciliation ADD COLUMN since timestamptz;
ALTER TABLE reconciliation ADD COLUMN surplus numeric(78, 0);
ALTER TABLE reconciliation ADD COLUMN surplus_height bigint;
-- Counts what was booked because of findings: each booking's key.
ALTER TABLE reconciliation ADD COLUMN bookings integer NOT NULL DEFAULT 0;

-- Accounts of which the nodes say another balance than the movements in blocks add up to.
CREATE TABLE audit_finding (
    chain       text NOT NULL,
    account     bytea NOT NULL,
    asset       text NOT NULL,
    -- Base units that the nodes say beyond the movements; below zero, money left in a way that no block showed.
    difference  numeric(78, 0) NOT NULL CHECK (difference <> 0),
    height      bigint NOT NULL,
    found_at    timestamptz NOT NULL,
    PRIMARY KEY (chain, account, asset)
);
