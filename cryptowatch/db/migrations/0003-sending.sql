-- Coins, the life of our own transactions, and withdrawals.

-- One lineage = one set of inputs; every attempt shares at least one of them with every other (P3).
CREATE TABLE lineage (
    id          uuid PRIMARY KEY DEFAULT uuidv7(),
    chain       text NOT NULL,
    -- Money to others, or within the wallet: those who receive the latter have made no deposit.
    kind        text NOT NULL CHECK (kind IN ('payout', 'sweep', 'refill', 'void', 'setup')),
    -- What a setup or refill is for, so that it is done once.
    subject     text,
    state       text NOT NULL CHECK (state IN ('open', 'confirmed', 'finalized', 'dead')),
    attempts    integer NOT NULL DEFAULT 0,
    -- The most urgent of what it carries: what fee bids go by.
    priority    text NOT NULL CHECK (priority IN ('economy', 'normal', 'urgent')),
    -- The attempt that a block of our chain holds.
    tx_hash     bytea,
    block_height bigint,
    -- What the network took for it, where only the block tells.
    fee_paid    numeric(78, 0),
    -- Where each payment of the batch is in it, null where it failed; null as a whole where no payment can fail.
    outcomes    integer[],
    -- A foreign transaction in a block that uses one of our coins: final means that no attempt can ever confirm.
    conflict    bytea,
    conflict_height bigint,
    reason      text,
    -- Counts the lineage's events.
    version     integer NOT NULL DEFAULT 0,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    CHECK ((tx_hash IS NULL) = (block_height IS NULL)),
    CHECK ((conflict IS NULL) = (conflict_height IS NULL)),
    CHECK ((state IN ('confirmed', 'finalized')) = (tx_hash IS NOT NULL))
);
CREATE INDEX lineage_by_subject ON lineage (chain, kind, subject) WHERE subject IS NOT NULL;
CREATE INDEX lineage_unfinished ON lineage (chain, id) WHERE state IN ('open', 'confirmed');

CREATE TABLE attempt (
    lineage_id  uuid NOT NULL REFERENCES lineage,
    number      integer NOT NULL,
    chain       text NOT NULL,
    -- Null where only signed transactions have one.
    tx_hash     bytea,
    -- The unsigned transaction with its key paths: signing it again after a crash gives the same transaction.
    plan        json NOT NULL,
    raw         bytea,
    fee         numeric(78, 0) NOT NULL CHECK (fee > 0),
    -- Virtual bytes, or the gas limit.
    size        integer NOT NULL CHECK (size > 0),
    -- Where each recipient stands, in the order of the batch: a replacement without change moves them.
    positions   integer[] NOT NULL,
    planned_height bigint NOT NULL,
    created_at  timestamptz NOT NULL,
    broadcast_at timestamptz,
    PRIMARY KEY (lineage_id, number),
    UNIQUE (chain, tx_hash),
    CHECK (raw IS NULL OR tx_hash IS NOT NULL),
    -- P4: nothing is broadcast that was not committed.
    CHECK (broadcast_at IS NULL OR raw IS NOT NULL)
);

-- Our unspent outputs: players' deposits and our own change.
CREATE TABLE coin (
    chain       text NOT NULL,
    resource    bytea NOT NULL,
    amount      numeric(78, 0) NOT NULL CHECK (amount > 0),
    destination bytea NOT NULL,
    height      bigint,
    -- The head height from which it may be used: when it is final, and for coinbase coins as late as the chain asks.
    -- Our own change may be used at once.
    mature_height bigint,
    reserved_by uuid REFERENCES lineage,
    spent_by    bytea,
    spent_height bigint,
    PRIMARY KEY (resource, chain),
    CHECK ((spent_by IS NULL) = (spent_height IS NULL))
);
CREATE INDEX coin_free ON coin (chain, height) WHERE reserved_by IS NULL AND spent_by IS NULL;
CREATE INDEX coin_by_lineage ON coin (reserved_by) WHERE reserved_by IS NOT NULL;
CREATE INDEX coin_by_height ON coin (chain, height);
CREATE INDEX coin_by_spent_height ON coin (chain, spent_height) WHERE spent_height IS NOT NULL;

CREATE TABLE withdrawal (
    id          uuid PRIMARY KEY DEFAULT uuidv7(),
    account_id  uuid NOT NULL REFERENCES account,
    chain       text NOT NULL,
    asset       text NOT NULL,
    amount      numeric(78, 0) NOT NULL CHECK (amount > 0),
    fee         numeric(78, 0) NOT NULL CHECK (fee >= 0),
    address     text NOT NULL,
    destination bytea NOT NULL,
    priority    text NOT NULL CHECK (priority IN ('economy', 'normal', 'urgent')),
    memo        text,
    state       text NOT NULL CHECK (state IN ('requested', 'in_review', 'queued', 'sending', 'confirmed',
                                               'finalized', 'rejected', 'canceled', 'failed')),
    reason      text,
    requested_by text NOT NULL,
    lineage_id  uuid REFERENCES lineage,
    tx_hash     bytea,
    -- Its place in the batch (from 1), and that of its output in the transaction (from 0).
    batch_place integer,
    position    integer,
    -- Its payment failed in a batch once: it is tried again by itself.
    alone       boolean NOT NULL DEFAULT false,
    version     integer NOT NULL,
    created_at  timestamptz NOT NULL,
    queued_at   timestamptz,
    updated_at  timestamptz NOT NULL,
    CHECK (state NOT IN ('sending', 'confirmed', 'finalized') OR lineage_id IS NOT NULL),
    CHECK (state NOT IN ('confirmed', 'finalized') OR tx_hash IS NOT NULL)
);
CREATE INDEX withdrawal_queue ON withdrawal (chain, queued_at, id) WHERE state = 'queued';
CREATE INDEX withdrawal_by_lineage ON withdrawal (lineage_id) WHERE lineage_id IS NOT NULL;
CREATE INDEX withdrawal_by_account ON withdrawal (account_id, id);
CREATE INDEX withdrawal_unsettled ON withdrawal (chain, state) WHERE state IN ('sending', 'confirmed');
