-- Players, their addresses, the chain as we follow it, deposits and coins.

CREATE TABLE account (
    id          uuid PRIMARY KEY DEFAULT uuidv7(),
    external_id text NOT NULL UNIQUE CHECK (length(external_id) BETWEEN 1 AND 200),
    status      text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'frozen', 'self_excluded')),
    kyc_level   smallint NOT NULL DEFAULT 0 CHECK (kyc_level BETWEEN 0 AND 10),
    metadata    json NOT NULL DEFAULT '{}',
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL
);

-- The chain that we follow: one row each, moved only by compare-and-set on (height, hash).
CREATE TABLE chain (
    chain       text PRIMARY KEY,
    -- What the network's fees are paid in.
    asset       text NOT NULL,
    height      bigint NOT NULL,
    hash        bytea NOT NULL,
    halted      text,
    halted_at   timestamptz,
    -- A person's word that a reorg below finality may be followed; used once.
    reorg_accepted_at timestamptz,
    -- What the nodes called final when we last looked, on our branch; never goes back. Null where depth alone decides.
    final_height bigint,
    -- Counts rescans: a watcher whose memory is older reads anew what is ours.
    rescans     integer NOT NULL DEFAULT 0,
    -- Counts the chain's own events (halted, resumed, reorged), not its blocks.
    version     integer NOT NULL DEFAULT 0,
    updated_at  timestamptz NOT NULL,
    CHECK ((halted IS NULL) = (halted_at IS NULL))
);

CREATE TABLE block (
    chain       text NOT NULL REFERENCES chain,
    height      bigint NOT NULL,
    hash        bytea NOT NULL,
    prev_hash   bytea NOT NULL,
    time        timestamptz NOT NULL,
    PRIMARY KEY (chain, height)
);

-- The last state of each node that an event told.
CREATE TABLE node (
    chain       text NOT NULL,
    name        text NOT NULL,
    state       text NOT NULL,
    version     integer NOT NULL,
    updated_at  timestamptz NOT NULL,
    PRIMARY KEY (chain, name)
);

-- How far each branch of each extended public key is derived. Locked while deriving: indexes commit in order.
CREATE TABLE derivation (
    chain       text NOT NULL,
    scheme      smallint NOT NULL,
    branch      smallint NOT NULL,
    xpub        text NOT NULL,
    next_index  bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (chain, scheme, branch)
);

CREATE TABLE address (
    chain       text NOT NULL,
    destination bytea NOT NULL,
    address     text NOT NULL,
    scheme      smallint NOT NULL,
    branch      smallint NOT NULL,
    key_index   bigint NOT NULL,
    account_id  uuid REFERENCES account,
    assigned_at timestamptz,
    -- What tells rows apart stands first, here and below: a full block's tens of thousands are found by it.
    PRIMARY KEY (destination, chain),
    UNIQUE (chain, scheme, branch, key_index),
    -- Branch 0 goes to accounts; branch 1 is our own change and never has one.
    CHECK (CASE branch WHEN 1 THEN account_id IS NULL ELSE (account_id IS NULL) = (assigned_at IS NULL) END)
);
CREATE INDEX address_free ON address (chain, scheme, branch, key_index) WHERE assigned_at IS NULL;
CREATE INDEX address_by_account ON address (account_id, assigned_at) WHERE account_id IS NOT NULL;

CREATE TABLE deposit (
    id          uuid PRIMARY KEY DEFAULT uuidv7(),
    chain       text NOT NULL,
    tx_hash     bytea NOT NULL,
    position    bigint NOT NULL,
    -- A digest of destination, asset and amount, where the transaction's hash does not commit to what it pays: there it
    -- is part of the identity. Empty elsewhere.
    content     bytea NOT NULL DEFAULT '',
    -- That of the address, which references it: checked there once, not again for each of a block's thousands.
    account_id  uuid NOT NULL,
    asset       text NOT NULL,
    amount      numeric(78, 0) NOT NULL CHECK (amount > 0),
    destination bytea NOT NULL,
    state       text NOT NULL CHECK (state IN
        ('detected', 'confirming', 'credited', 'finalized', 'reversed', 'replaced', 'quarantined')),
    block_height bigint,
    block_hash  bytea,
    inclusion   integer NOT NULL DEFAULT 0,
    credit_confirmations   integer NOT NULL CHECK (credit_confirmations >= 1),
    finalize_confirmations integer NOT NULL CHECK (finalize_confirmations >= credit_confirmations),
    -- The head height at which the next threshold is reached.
    due_height  bigint,
    quarantine  text,
    -- A pending transaction that uses one of the same inputs, as some node reported: a warning, not a fact.
    conflict    bytea,
    version     integer NOT NULL,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    UNIQUE (tx_hash, position, chain, content),
    CHECK ((block_height IS NULL) = (block_hash IS NULL)),
    CHECK ((state = 'quarantined') = (quarantine IS NOT NULL)),
    CHECK (state NOT IN ('confirming', 'credited', 'finalized') OR block_height IS NOT NULL),
    CHECK (state NOT IN ('detected', 'reversed', 'replaced') OR block_height IS NULL)
);
CREATE INDEX deposit_due ON deposit (chain, due_height) WHERE due_height IS NOT NULL;
CREATE INDEX deposit_by_block ON deposit (chain, block_height);
CREATE INDEX deposit_by_account ON deposit (account_id, id);
CREATE INDEX deposit_unconfirmed ON deposit (chain, id) WHERE block_height IS NULL;

-- What each deposit's transaction uses: another use of the same, mined, means that the deposit is lost.
CREATE TABLE deposit_resource (
    chain       text NOT NULL,
    resource    bytea NOT NULL,
    tx_hash     bytea NOT NULL,
    PRIMARY KEY (resource, tx_hash, chain)
);
CREATE INDEX deposit_resource_by_tx ON deposit_resource (tx_hash);
