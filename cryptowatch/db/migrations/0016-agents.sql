-- Agents, their plans and players, and the periods that are closed into statements.
SET LOCAL lock_timeout = '10s';

-- A plan never changes; agents get another one.
CREATE TABLE commission_plan (
    id          uuid PRIMARY KEY,
    name        text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    document    json NOT NULL,
    created_at  timestamptz NOT NULL
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON commission_plan
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE commission_plan ENABLE ALWAYS TRIGGER append_only;

-- An agent is paid to an account of its own. It stays where it is in the tree: `path` are those above it, from the root.
CREATE TABLE agent (
    id          uuid PRIMARY KEY,
    account_id  uuid NOT NULL UNIQUE REFERENCES account,
    parent_id   uuid REFERENCES agent,
    path        uuid[] NOT NULL,
    name        text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    -- Where its players may live; empty: anywhere.
    jurisdictions text[] NOT NULL DEFAULT '{}',
    status      text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended')),
    version     integer NOT NULL DEFAULT 1,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    CHECK (parent_id IS NOT DISTINCT FROM path[cardinality(path)]),
    CHECK (id <> ALL (path))
);
CREATE INDEX agent_below ON agent USING gin (path);
CREATE INDEX agent_directly_below ON agent (parent_id, id);

-- Which plan holds from a day on.
CREATE TABLE agent_plan (
    agent_id    uuid NOT NULL REFERENCES agent,
    since       date NOT NULL,
    plan_id     uuid NOT NULL REFERENCES commission_plan,
    PRIMARY KEY (agent_id, since)
);

-- Whose player an account is from a day on.
CREATE TABLE agent_player (
    account_id  uuid NOT NULL REFERENCES account,
    since       date NOT NULL,
    agent_id    uuid NOT NULL REFERENCES agent,
    assigned_at timestamptz NOT NULL,
    -- Counts the account's assignments, as their events do.
    version     integer NOT NULL,
    PRIMARY KEY (account_id, since)
);
CREATE INDEX agent_player_of_agent ON agent_player (agent_id, account_id);

-- A period is closed once, for all agents (P2).
CREATE TABLE agent_period (
    begin_on    date PRIMARY KEY,
    end_on      date NOT NULL CHECK (end_on > begin_on),
    closed_at   timestamptz NOT NULL
);

CREATE TABLE agent_statement (
    id          uuid PRIMARY KEY,
    agent_id    uuid NOT NULL REFERENCES agent,
    begin_on    date NOT NULL REFERENCES agent_period,
    end_on      date NOT NULL,
    asset       text NOT NULL,
    state       text NOT NULL CHECK (state IN ('held', 'settled', 'paid', 'rejected')),
    -- As `commission.Settlement`, in base units.
    carry_in    numeric NOT NULL CHECK (carry_in <= 0),
    carry_out   numeric NOT NULL CHECK (carry_out <= 0),
    earned      numeric NOT NULL CHECK (earned >= 0),
    granted     numeric NOT NULL CHECK (granted BETWEEN 0 AND earned),
    amount      numeric NOT NULL CHECK (amount BETWEEN 0 AND granted),
    -- The rates that were used.
    plan        json NOT NULL,
    held_until  timestamptz NOT NULL,
    decided_by  text,
    reason      text,
    version     integer NOT NULL DEFAULT 1,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    UNIQUE (agent_id, asset, begin_on),
    CHECK ((amount = 0) = (state = 'settled'))
);
CREATE INDEX agent_statement_newest ON agent_statement (agent_id, id);
CREATE INDEX agent_statement_held ON agent_statement (held_until, id) WHERE state = 'held';

-- What a statement is made of: each of the agent's own players by product. Their postings are found by account and time.
CREATE TABLE agent_statement_line (
    statement_id uuid NOT NULL REFERENCES agent_statement,
    account_id  uuid NOT NULL,
    product     text NOT NULL,
    bet         numeric NOT NULL,
    win         numeric NOT NULL,
    refund      numeric NOT NULL,
    bonus       numeric NOT NULL,
    PRIMARY KEY (statement_id, account_id, product)
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON agent_statement_line
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE agent_statement_line ENABLE ALWAYS TRIGGER append_only;

-- Why a person should look before a statement is paid.
CREATE TABLE agent_flag (
    statement_id uuid NOT NULL REFERENCES agent_statement,
    anomaly     text NOT NULL,
    compared    json NOT NULL,
    -- Who decided that it may be paid all the same.
    dismissed_by text,
    reason      text,
    dismissed_at timestamptz,
    PRIMARY KEY (statement_id, anomaly),
    CHECK ((dismissed_by IS NULL) = (dismissed_at IS NULL))
);

-- Matched bets are looked for in the rounds of a period; rows come in the order of time.
CREATE INDEX round_entry_by_time ON round_entry USING brin (created_at);

-- A key of an agent sees that agent's downline alone.
ALTER TABLE api_key ADD COLUMN agent_id uuid;
