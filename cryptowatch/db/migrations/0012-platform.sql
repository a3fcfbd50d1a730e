-- The platform's side: what it says about its players, what they play, and readers of the event feed with a place.
SET LOCAL lock_timeout = '10s';

-- A reader of the event feed: the last position that it is done with. Moved in the transaction of what it made of it.
CREATE TABLE consumer (
    name        text PRIMARY KEY,
    position    bigint NOT NULL CHECK (position >= 0)
);

-- Where the player lives (ISO 3166), and the platform's own words for it.
ALTER TABLE account ADD COLUMN jurisdiction text;
ALTER TABLE account ADD COLUMN tags text[] NOT NULL DEFAULT '{}';
-- Responsible play: what the player asked for. Neither term can be shortened.
ALTER TABLE account ADD COLUMN excluded_until timestamptz;
ALTER TABLE account ADD COLUMN cooling_off_until timestamptz;
-- Limits on play, and those that are to replace them: what loosens one waits.
ALTER TABLE account ADD COLUMN play_limits json NOT NULL DEFAULT '[]';
ALTER TABLE account ADD COLUMN next_play_limits json;
ALTER TABLE account ADD COLUMN next_play_limits_at timestamptz;
-- Whether either of them limits deposits: what a block asks of each account.
ALTER TABLE account ADD COLUMN deposit_limited boolean NOT NULL DEFAULT false;
ALTER TABLE account ADD CONSTRAINT account_next_play_limits CHECK (
    (next_play_limits IS NULL) = (next_play_limits_at IS NULL)) NOT VALID;

-- What several accounts may share: a device, a network, an address on a chain. Seen by the platform or by us.
CREATE TABLE account_trait (
    account_id  uuid NOT NULL REFERENCES account,
    kind        text NOT NULL CHECK (kind IN ('device', 'ip_prefix', 'funding_address', 'withdrawal_address')),
    value       text COLLATE "C" NOT NULL CHECK (length(value) BETWEEN 1 AND 200),
    first_seen_at timestamptz NOT NULL,
    last_seen_at timestamptz NOT NULL,
    PRIMARY KEY (account_id, kind, value)
);
CREATE INDEX account_trait_shared ON account_trait (kind, value, account_id);

-- What an account played on a day (UTC), by asset and the platform's word for the product, in base units. Written with
-- each transfer, so that limits, commissions and rules never add up postings.
CREATE TABLE play_day (
    account_id  uuid NOT NULL REFERENCES account,
    day         date NOT NULL,
    asset       text NOT NULL,
    product     text NOT NULL,
    bet         numeric NOT NULL DEFAULT 0,
    win         numeric NOT NULL DEFAULT 0,
    refund      numeric NOT NULL DEFAULT 0,
    bonus       numeric NOT NULL DEFAULT 0,
    bets        bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (account_id, day, asset, product)
) WITH (fillfactor = 80);

-- The rounds of games: which accounts moved what in each. Only what the platform names a round for.
CREATE TABLE round_entry (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    round       text COLLATE "C" NOT NULL CHECK (length(round) BETWEEN 1 AND 200),
    product     text NOT NULL,
    account_id  uuid NOT NULL,
    asset       text NOT NULL,
    kind        text NOT NULL CHECK (kind IN ('bet', 'win', 'refund', 'bonus')),
    amount      numeric(78, 0) NOT NULL CHECK (amount > 0),
    -- The posting's.
    key         text COLLATE "C" NOT NULL,
    created_at  timestamptz NOT NULL
);
CREATE INDEX round_entry_of_round ON round_entry (round, id);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON round_entry
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE round_entry ENABLE ALWAYS TRIGGER append_only;

-- What one whole unit of an asset is worth in the reference currency, in 10^-12 of it, as the platform last said.
CREATE TABLE asset_rate (
    asset       text PRIMARY KEY,
    rate        numeric(78, 0) NOT NULL CHECK (rate > 0),
    updated_at  timestamptz NOT NULL
);
