-- Compliance: what people and keys did, in a chain of hashes; cases about accounts.
SET LOCAL lock_timeout = '10s';

-- Every action of a person or a key, written in the action's own transaction. Nothing in it is secret.
CREATE TABLE audit_entry (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- An API key's id, or `operator:` and the name of who typed the command.
    actor       text NOT NULL,
    -- The call (`POST /v1/…`) or the command.
    action      text NOT NULL,
    -- The ids that it was about.
    subjects    text[] NOT NULL,
    request_id  text,
    -- SHA-256 of what was asked.
    body_digest bytea CHECK (length(body_digest) = 32),
    outcome     text NOT NULL,
    created_at  timestamptz NOT NULL
);
CREATE INDEX audit_entry_subjects ON audit_entry USING gin (subjects);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_entry
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE audit_entry ENABLE ALWAYS TRIGGER append_only;

-- Entries that wait for their place in the chain: ids are taken before commit, places are given after it.
CREATE TABLE audit_queue (
    entry_id    bigint PRIMARY KEY
);

-- The chain: positions without gaps, each hash over the one before and the entry.
CREATE TABLE audit_seal (
    position    bigint PRIMARY KEY CHECK (position > 0),
    entry_id    bigint NOT NULL UNIQUE REFERENCES audit_entry,
    hash        bytea NOT NULL CHECK (length(hash) = 32)
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_seal
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE audit_seal ENABLE ALWAYS TRIGGER append_only;

-- What a rule found about an account, until a person decides. One at a time for each account, rule and asset.
CREATE TABLE compliance_case (
    id          uuid PRIMARY KEY,
    account_id  uuid NOT NULL REFERENCES account,
    rule        text NOT NULL,
    asset       text NOT NULL,
    -- The deposit or withdrawal that the rule was asked about: it opens one case at most (P2).
    subject     text NOT NULL,
    -- What it does until it is cleared: nothing, the account's withdrawals wait, or the account was frozen.
    action      text NOT NULL CHECK (action IN ('note', 'hold', 'freeze')),
    state       text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'cleared', 'confirmed')),
    -- What the rule compared, as people read it.
    compared    json NOT NULL,
    -- The time up to which it looked: what came before is not held against the account again once a person decided.
    seen_until  timestamptz NOT NULL,
    assignee    text,
    decided_by  text,
    reason      text,
    decided_at  timestamptz,
    version     integer NOT NULL DEFAULT 1,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    UNIQUE (subject, rule),
    CHECK ((state = 'open') = (decided_by IS NULL)),
    CHECK ((decided_by IS NULL) = (decided_at IS NULL))
);
CREATE UNIQUE INDEX compliance_case_open ON compliance_case (account_id, rule, asset) WHERE state = 'open';
CREATE INDEX compliance_case_of_account ON compliance_case (account_id, id);
CREATE INDEX compliance_case_holding ON compliance_case (account_id) WHERE action = 'hold' AND state <> 'cleared';

-- Accounts whose withdrawals wait for a case. All that other features know of cases.
CREATE VIEW account_hold AS
SELECT DISTINCT account_id FROM compliance_case WHERE action = 'hold' AND state <> 'cleared';

-- What people wrote about a case.
CREATE TABLE case_note (
    id          uuid PRIMARY KEY,
    case_id     uuid NOT NULL REFERENCES compliance_case,
    author      text NOT NULL,
    text        text NOT NULL CHECK (length(text) BETWEEN 1 AND 4000),
    created_at  timestamptz NOT NULL
);
CREATE INDEX case_note_of_case ON case_note (case_id, id);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON case_note
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE case_note ENABLE ALWAYS TRIGGER append_only;

-- Where deposits came from, as one node said.
CREATE TABLE deposit_source (
    deposit_id  uuid NOT NULL REFERENCES deposit,
    address     text NOT NULL CHECK (length(address) BETWEEN 1 AND 200),
    -- It was on the deny list when it was looked at.
    denied      boolean NOT NULL,
    created_at  timestamptz NOT NULL,
    PRIMARY KEY (deposit_id, address)
);

-- The screening provider's verdict about a withdrawal, or what holds where it did not answer. The first one counts.
CREATE TABLE screening (
    withdrawal_id uuid PRIMARY KEY REFERENCES withdrawal,
    verdict     text NOT NULL CHECK (verdict IN ('pass', 'review', 'refuse')),
    answered    boolean NOT NULL,
    -- The provider's own.
    reference   text CHECK (length(reference) <= 200),
    created_at  timestamptz NOT NULL
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON screening
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE screening ENABLE ALWAYS TRIGGER append_only;

-- Who sends and who receives a withdrawal, as the travel rule asks: personal data, for people with the scope alone.
CREATE TABLE travel_rule (
    withdrawal_id uuid PRIMARY KEY REFERENCES withdrawal,
    data        json NOT NULL,
    created_at  timestamptz NOT NULL
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON travel_rule
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE travel_rule ENABLE ALWAYS TRIGGER append_only;

-- Withdrawals that wait: for a case, a verdict, or a person.
CREATE INDEX withdrawal_in_review ON withdrawal (chain, id) WHERE state = 'in_review';
