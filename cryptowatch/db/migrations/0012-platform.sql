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
ALTER TABLE account ADD COLUMN play_limits json NOT NULL DEFAULT '[]';

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
    bet         numeric(78, 0) NOT NULL DEFAULT 0,
    win         numeric(78, 0) NOT NULL DEFAULT 0,
    refund      numeric(78, 0) NOT NULL DEFAULT 0,
    bonus       numeric(78, 0) NOT NULL DEFAULT 0,
    bets        bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (account_id, day, asset, product)
) WITH (fillfactor = 80);
