-- What the HTTP API and the webhooks keep: keys, answers under idempotency keys, endpoints, deliveries.

-- Counts the account's own events (created, updated).
ALTER TABLE account ADD COLUMN version integer NOT NULL DEFAULT 1;

-- Keys are stored as SHA-256 of 256 random bits: there is nothing to guess that a slower hash would protect.
CREATE TABLE api_key (
    id          uuid PRIMARY KEY,
    name        text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    digest      bytea NOT NULL UNIQUE CHECK (length(digest) = 32),
    -- The key's last characters, so that people can tell keys apart.
    hint        text NOT NULL,
    scopes      text[] NOT NULL,
    created_at  timestamptz NOT NULL,
    expires_at  timestamptz,
    revoked_at  timestamptz,
    -- Written every now and then, not with each request.
    last_used_at timestamptz
);

-- The first answer to each request that carried an Idempotency-Key, committed with the request's effect (P2).
-- No foreign key to api_key: it would lock the one busy row with every request; keys are never deleted.
CREATE TABLE idempotency (
    api_key_id  uuid NOT NULL,
    key         text COLLATE "C" NOT NULL,
    -- SHA-256 of method, path and the canonical body.
    fingerprint bytea NOT NULL,
    status      smallint NOT NULL,
    body        bytea NOT NULL,
    created_at  timestamptz NOT NULL,
    -- The ledger's own key recognizes a repetition too, so that this row may be forgotten after a while.
    guarded     boolean NOT NULL,
    PRIMARY KEY (api_key_id, key)
);
CREATE INDEX idempotency_forgettable ON idempotency (created_at) WHERE guarded;

CREATE TABLE webhook_endpoint (
    id          uuid PRIMARY KEY,
    url         text NOT NULL CHECK (length(url) <= 2000),
    description text NOT NULL DEFAULT '',
    -- Names (`deposit.credited`), groups (`deposit.*`); empty: every event of players' and chains' objects.
    event_types text[] NOT NULL,
    state       text NOT NULL CHECK (state IN ('enabled', 'disabled', 'deleted')),
    reason      text,
    secret      text NOT NULL,
    previous_secret text,
    previous_secret_until timestamptz,
    -- The last position of the event feed that is turned into deliveries. Moved back, it replays.
    position    bigint NOT NULL CHECK (position >= 0),
    -- Rounds of attempts in a row that all failed; the endpoint is left alone until then.
    failures    integer NOT NULL DEFAULT 0,
    paused_until timestamptz,
    version     integer NOT NULL DEFAULT 1,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    CHECK ((previous_secret IS NULL) = (previous_secret_until IS NULL))
);

-- One row per endpoint and event. Its body is the event's own row: never copied, never changed, never removed
-- (so a foreign key to it would only cost).
CREATE TABLE webhook_delivery (
    id          uuid PRIMARY KEY DEFAULT uuidv7(),
    endpoint_id uuid NOT NULL REFERENCES webhook_endpoint,
    position    bigint NOT NULL,
    event_id    bigint NOT NULL,
    entity_kind text NOT NULL,
    entity_id   text COLLATE "C" NOT NULL,
    state       text NOT NULL CHECK (state IN ('pending', 'delivered', 'dead')),
    attempts    integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL,
    -- A worker is at it until then; after that another one may take it. In no index, so that claiming is cheap.
    leased_until timestamptz,
    last_status smallint,
    last_problem text,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    UNIQUE (endpoint_id, position)
) WITH (fillfactor = 80);
CREATE INDEX webhook_delivery_due ON webhook_delivery (endpoint_id, next_attempt_at, position) WHERE state = 'pending';
-- Who is first in line of one entity: only that one may be attempted.
CREATE INDEX webhook_delivery_line ON webhook_delivery (endpoint_id, entity_id, entity_kind, position)
    WHERE state = 'pending';
CREATE INDEX webhook_delivery_dead ON webhook_delivery (endpoint_id, position) WHERE state = 'dead';
CREATE INDEX webhook_delivery_delivered ON webhook_delivery (updated_at) WHERE state = 'delivered';

-- Lists by state and by kind of account, newest first.
CREATE INDEX deposit_by_state ON deposit (state, id);
CREATE INDEX withdrawal_by_state ON withdrawal (state, id);
CREATE INDEX account_by_status ON account (status, id);
