-- Deliveries without a foreign key; the screening provider's word about where deposits came from; whose settings say what
-- the programme of the settings is; the decimals of statements; who referred most.
SET LOCAL lock_timeout = '10s';

-- A delivery is written by whoever holds its endpoint's row, and endpoints are never removed: the key would only cost, one
-- look-up for each delivery.
-- squawk-ignore ban-drop-constraint -- no client reads it, and nothing that it forbids can be written
ALTER TABLE webhook_delivery DROP CONSTRAINT webhook_delivery_endpoint_id_fkey;

-- Deposits of which the provider is to be asked: written with their sources, removed with the verdict.
CREATE TABLE source_screening_queue (
    deposit_id  uuid PRIMARY KEY REFERENCES deposit
);

-- The provider's verdict about a deposit's sources, or what holds where it did not answer. The first one counts.
CREATE TABLE source_screening (
    deposit_id  uuid PRIMARY KEY REFERENCES deposit,
    verdict     text NOT NULL CHECK (verdict IN ('pass', 'review', 'refuse')),
    answered    boolean NOT NULL,
    -- The provider's own.
    reference   text CHECK (length(reference) <= 200),
    created_at  timestamptz NOT NULL
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON source_screening
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE source_screening ENABLE ALWAYS TRIGGER append_only;

-- Terms of the programme `default` that settings ever gave, by their revision: each is written into the programme once.
CREATE TABLE referral_settings (
    revision    integer NOT NULL CHECK (revision >= 0),
    -- SHA-256 of the terms.
    digest      bytea NOT NULL CHECK (length(digest) = 32),
    created_at  timestamptz NOT NULL,
    PRIMARY KEY (revision, digest)
);

-- Of the asset, when the period was closed: amounts are shown by it also when no settings have the asset any more. NULL where
-- nobody knew them, and in statements that were closed before.
ALTER TABLE agent_statement ADD COLUMN decimals smallint CHECK (decimals BETWEEN 0 AND 78);

-- Who referred most accounts that qualified.
CREATE INDEX referral_count_best ON referral_count (qualified DESC, referrer_id) WHERE level = 1 AND qualified > 0;
