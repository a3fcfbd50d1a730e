-- Compliance: what people and keys did, in a chain of hashes.
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
