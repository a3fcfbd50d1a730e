-- Referrals: codes, who referred whom under which terms, what was earned by it, and what it adds up to.
SET LOCAL lock_timeout = '10s';

-- Takes a paid bonus back whole, once, whether or not it was spent: the account may then owe a debt.
INSERT INTO posting_kind (kind, total_sign, unfinalized_sign, held_sign, floor, resolves) VALUES
    ('bonus_reverse', -1, 0, 0, NULL, '{bonus}');

CREATE TABLE referral_programme (
    id          uuid PRIMARY KEY,
    name        text NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 100),
    -- Active; paused: refers nobody and pays nothing meanwhile; closed: refers nobody any more.
    state       text NOT NULL CHECK (state IN ('active', 'paused', 'closed')),
    -- Whether codes without a programme of their own refer under it.
    is_default  boolean NOT NULL,
    terms_version integer NOT NULL,
    version     integer NOT NULL,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL
);
CREATE UNIQUE INDEX referral_programme_default ON referral_programme (is_default) WHERE is_default;

-- What a programme promises, by version. A referral keeps the version that it was made under.
CREATE TABLE referral_terms (
    programme_id uuid NOT NULL REFERENCES referral_programme,
    version     integer NOT NULL,
    terms       json NOT NULL,
    created_at  timestamptz NOT NULL,
    PRIMARY KEY (programme_id, version)
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON referral_terms
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE referral_terms ENABLE ALWAYS TRIGGER append_only;

-- `code` is folded (cryptowatch/referrals/codes.py): two that look alike are one. Never given to another account.
CREATE TABLE referral_code (
    code        text COLLATE "C" PRIMARY KEY CHECK (code ~ '^[0-9A-Z]{4,20}$'),
    shown       text NOT NULL,
    account_id  uuid NOT NULL REFERENCES account,
    programme_id uuid REFERENCES referral_programme,
    vanity      boolean NOT NULL,
    disabled_at timestamptz,
    created_at  timestamptz NOT NULL
);
CREATE UNIQUE INDEX referral_code_own ON referral_code (account_id) WHERE NOT vanity;
CREATE INDEX referral_code_by_account ON referral_code (account_id);

-- Who was referred, once. Referrer, programme and terms are those of the code, and no foreign keys: each referral would
-- lock the one busy row.
CREATE TABLE referral (
    account_id  uuid PRIMARY KEY REFERENCES account,
    referrer_id uuid NOT NULL CHECK (referrer_id <> account_id),
    -- The referrer, who referred them, and so on, as it was then: level 1, 2, 3 … No walk is needed later.
    ancestors   uuid[] NOT NULL CHECK (ancestors[1] = referrer_id),
    code        text COLLATE "C" NOT NULL,
    programme_id uuid,
    terms_version integer,
    state       text NOT NULL CHECK (state IN ('pending', 'qualified')),
    -- Counts the times that it qualified: once, and again after its deposit was reversed.
    round       integer NOT NULL,
    -- The deposit that it qualified by, where the act is one.
    deposit_id  uuid,
    -- The account stood above its referrer when the code was entered.
    circular    boolean NOT NULL,
    -- When what the account played is looked at next; only where that is the act.
    look_at     timestamptz,
    version     integer NOT NULL,
    attributed_at timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    CHECK ((programme_id IS NULL) = (terms_version IS NULL)),
    CHECK (state = 'qualified' OR deposit_id IS NULL)
) WITH (fillfactor = 80);
CREATE INDEX referral_by_referrer ON referral (referrer_id, account_id);
CREATE INDEX referral_pace ON referral (referrer_id, attributed_at);
CREATE INDEX referral_look ON referral (look_at) WHERE look_at IS NOT NULL;

-- How many accounts stand below one, by level, and how many of them qualified. Written by the feed's one reader, once
-- for all that a transaction of it reads: a referrer of a million is no busy row.
CREATE TABLE referral_count (
    referrer_id uuid NOT NULL,
    level       smallint NOT NULL CHECK (level > 0),
    referred    bigint NOT NULL,
    qualified   bigint NOT NULL,
    PRIMARY KEY (referrer_id, level)
) WITH (fillfactor = 80);

-- One reward of one referrer for one referral's round. The amount is what caps left of it. Its referral is held while it
-- is decided, and never deleted: a foreign key would only cost.
CREATE TABLE referral_reward (
    id          uuid PRIMARY KEY,
    account_id  uuid NOT NULL,
    round       integer NOT NULL,
    level       smallint NOT NULL CHECK (level > 0),
    referrer_id uuid NOT NULL,
    programme_id uuid NOT NULL,
    terms_version integer NOT NULL,
    deposit_id  uuid,
    asset       text NOT NULL,
    amount      numeric(78, 0) NOT NULL CHECK (amount >= 0),
    state       text NOT NULL CHECK (state IN ('held', 'flagged', 'paid', 'rejected', 'reversed')),
    -- What spoke against paying it, when it was last looked at.
    findings    text[] NOT NULL,
    reason      text,
    -- The API key that approved or rejected it.
    decided_by  text,
    due_at      timestamptz NOT NULL,
    -- Of the cap per day: the day that it was decided on, in UTC.
    day         date NOT NULL,
    version     integer NOT NULL,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    UNIQUE (account_id, round, level),
    CHECK (amount > 0 OR state = 'rejected')
) WITH (fillfactor = 80);
CREATE INDEX referral_reward_due ON referral_reward (due_at, id) WHERE state = 'held';
CREATE INDEX referral_reward_by_state ON referral_reward (state, id);
CREATE INDEX referral_reward_by_referrer ON referral_reward (referrer_id, id);

-- What a referrer has under a programme, over all ('all'), per level ('level:1') and per day ('day:2026-11-23'): caps
-- are asked of these, and never of the rewards. `open` is held or flagged.
CREATE TABLE referral_tally (
    referrer_id uuid NOT NULL,
    programme_id uuid NOT NULL,
    asset       text NOT NULL,
    scope       text COLLATE "C" NOT NULL,
    open        numeric(100, 0) NOT NULL CHECK (open >= 0),
    paid        numeric(100, 0) NOT NULL CHECK (paid >= 0),
    PRIMARY KEY (referrer_id, programme_id, asset, scope)
) WITH (fillfactor = 80);
-- Without `open`, which every decision changes: an update of it touches no index.
CREATE INDEX referral_tally_best ON referral_tally (programme_id, asset, paid DESC, referrer_id)
    WHERE scope = 'all';

-- For people with SQL, and for the API.
CREATE VIEW referral_conversion AS
SELECT referrer_id, level, referred, qualified,
       CASE WHEN referred = 0 THEN 0 ELSE qualified * 1000000 / referred END AS conversion_ppm
FROM referral_count;

CREATE VIEW referral_leaderboard AS
SELECT programme_id, asset, referrer_id, paid, open FROM referral_tally WHERE scope = 'all' AND paid > 0;

CREATE VIEW referral_cost AS
SELECT programme_id, asset, count(*) AS referrers, sum(open) AS open, sum(paid) AS paid
FROM referral_tally WHERE scope = 'all' GROUP BY programme_id, asset;
