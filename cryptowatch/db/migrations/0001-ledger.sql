-- The ledger: accounts, postings, holds and debts, house accounts, the event log.
-- The formulas are documented and mirrored in cryptowatch/ledger/rules.py; a test holds the two equal.

-- Integer base units. 78 digits take every 256-bit value, 100 digits every sum of them. Domains, because a
-- CHECK on a table is parsed anew by every statement on it: five of them cost a tenth of a posting.
CREATE DOMAIN amount AS numeric(78, 0) CHECK (VALUE > 0);
CREATE DOMAIN part AS numeric(100, 0) CHECK (VALUE >= 0);

-- Refuses to change what is history. Attached below to every append-only table.
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'LE001';
END $$;

-- Who can hold a balance of what. Never changes, so its ids can be cached for ever.
CREATE TABLE ledger_account (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner_kind  text NOT NULL CHECK (owner_kind IN ('player', 'house', 'agent', 'referrer')),
    owner_id    uuid NOT NULL,
    role        text NOT NULL CHECK (role <> ''),
    asset       text NOT NULL CHECK (asset <> ''),
    UNIQUE (owner_id, asset, role, owner_kind),
    -- The house is one owner; its accounts differ by role.
    CHECK ((owner_kind = 'house') = (owner_id = '00000000-0000-0000-0000-000000000000'))
);

-- Every account but the house's has one row here: the balance, exact at every moment, changed by postings only.
-- What follows from it is never stored, so that it cannot contradict it:
--   debt         = max(0, held - total): what a reversal took beyond what was there; credits lower it first
--   playable     = max(0, total - held)
--   withdrawable = max(0, total - held - unfinalized)
-- Room is left in each page so that an update stays on it and touches no index.
CREATE TABLE customer_balance (
    account_id  bigint PRIMARY KEY REFERENCES ledger_account,
    version     bigint NOT NULL DEFAULT 0,
    total       numeric(100, 0) NOT NULL DEFAULT 0,
    unfinalized part NOT NULL DEFAULT 0,
    held        part NOT NULL DEFAULT 0,
    asset       text NOT NULL
) WITH (fillfactor = 60);

-- House accounts are hot, so a posting never touches this row: it adds to house_delta, and a roll-up folds
-- deltas in. The balance at any moment is this row plus its deltas. May be negative.
CREATE TABLE house_balance (
    account_id  bigint PRIMARY KEY REFERENCES ledger_account,
    rolled_up   numeric(100, 0) NOT NULL DEFAULT 0,
    asset       text NOT NULL
);
CREATE TABLE house_delta (
    account_id  bigint NOT NULL,
    amount      numeric(100, 0) NOT NULL
);

-- What each kind of posting does to the customer's row, as signs on its amount, and its floor: what of the
-- balance must not be negative afterwards. `resolves` are the kinds of which one earlier posting is used up.
CREATE TABLE posting_kind (
    kind             text PRIMARY KEY,
    total_sign       numeric NOT NULL CHECK (total_sign IN (-1, 0, 1)),
    unfinalized_sign numeric NOT NULL CHECK (unfinalized_sign IN (-1, 0, 1)),
    held_sign        numeric NOT NULL CHECK (held_sign IN (-1, 0, 1)),
    floor            text CHECK (floor IN ('playable', 'withdrawable')),
    resolves         text[]
);
INSERT INTO posting_kind (kind, total_sign, unfinalized_sign, held_sign, floor, resolves) VALUES
    ('deposit_credit',        1,  1,  0, NULL, NULL),
    ('deposit_credit_final',  1,  0,  0, NULL, NULL),
    ('deposit_finalize',      0, -1,  0, NULL, '{deposit_credit}'),
    ('deposit_reverse',      -1, -1,  0, NULL, '{deposit_credit}'),
    ('deposit_reverse_final', -1, 0,  0, NULL, '{deposit_finalize,deposit_credit_final}'),
    ('hold',                  0,  0,  1, 'withdrawable', NULL),
    ('hold_release',          0,  0, -1, NULL, '{hold}'),
    ('hold_settle',          -1,  0, -1, NULL, '{hold}'),
    ('bet',                  -1,  0,  0, 'playable', NULL),
    ('win',                   1,  0,  0, NULL, NULL),
    ('refund',                1,  0,  0, NULL, NULL),
    ('bonus',                 1,  0,  0, NULL, NULL),
    ('adjustment_credit',     1,  0,  0, NULL, NULL),
    ('adjustment_debit',     -1,  0,  0, 'playable', NULL),
    ('house_transfer',        0,  0,  0, NULL, NULL);

-- History. One row is one transfer of one amount between two accounts, or (without accounts) a change of what
-- a customer may do with it. `customer` is the account whose row it changed, with the row's values afterwards.
CREATE TABLE posting (
    id                bigint GENERATED ALWAYS AS IDENTITY,
    customer          bigint,
    version           bigint,
    from_account      bigint,
    to_account        bigint,
    resolves          bigint,
    created_at        timestamptz NOT NULL,
    amount            amount NOT NULL,
    total_after       numeric(100, 0),
    unfinalized_after numeric(100, 0),
    held_after        numeric(100, 0),
    key               text COLLATE "C" NOT NULL,
    kind              text NOT NULL,
    asset             text NOT NULL,
    reference         text
);
-- P2: one effect per key, for ever.
CREATE UNIQUE INDEX posting_key ON posting (key);
-- Ids rise with versions within one account, because both are taken while its row is locked.
CREATE UNIQUE INDEX posting_history ON posting (customer, id);
-- A hold or a credit is used up at most once (P2, P3).
CREATE UNIQUE INDEX posting_resolved ON posting (resolves) WHERE resolves IS NOT NULL;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON posting
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE posting ENABLE ALWAYS TRIGGER append_only;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_account
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE ledger_account ENABLE ALWAYS TRIGGER append_only;

-- What the posting under this key gave: 'exists' with its result, or 'conflict' when its content was another.
-- No row when the key is new.
CREATE FUNCTION ledger_earlier(
    p_key text, p_kind text, p_customer bigint, p_from bigint, p_to bigint, p_amount numeric,
    p_resolves text, p_reference text
) RETURNS TABLE (status text, total numeric, unfinalized numeric, held numeric)
LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY
    SELECT CASE WHEN p.kind = p_kind AND p.amount = p_amount
                 AND p.customer IS NOT DISTINCT FROM p_customer
                 AND p.from_account IS NOT DISTINCT FROM p_from
                 AND p.to_account IS NOT DISTINCT FROM p_to
                 AND p.reference IS NOT DISTINCT FROM p_reference
                 AND p.resolves IS NOT DISTINCT FROM (SELECT o.id FROM posting o WHERE o.key = p_resolves)
                THEN 'exists' ELSE 'conflict' END,
           p.total_after, p.unfinalized_after, p.held_after
    FROM posting p WHERE p.key = p_key;
END $$;

-- The id of the posting that p_resolves names; NULL when it was resolved already. The caller has locked the
-- customer's row. Raises LE002 when there is no such posting of this account and amount: a program's mistake.
CREATE FUNCTION ledger_open_posting(p_key text, p_kind text, p_customer bigint, p_amount numeric, p_resolves text)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_id bigint;
BEGIN
    SELECT o.id INTO v_id FROM posting o
    WHERE o.key = p_resolves AND o.customer = p_customer AND o.amount = p_amount
      AND o.kind = ANY ((SELECT k.resolves FROM posting_kind k WHERE k.kind = p_kind)::text[]);
    IF v_id IS NULL THEN
        RAISE EXCEPTION 'posting %: % has nothing to resolve in %', p_key, p_kind, p_resolves
            USING ERRCODE = 'LE002';
    END IF;
    PERFORM FROM posting r WHERE r.resolves = v_id;
    RETURN CASE WHEN FOUND THEN NULL ELSE v_id END;
END $$;

-- One posting, in as few statements as can be: the update locks the customer's row and keeps the floor at
-- once; a key that turns out to be taken (a retry, a race) takes the update back.
CREATE FUNCTION ledger_post_one(
    p_key text, p_kind text, p_customer bigint, p_from bigint, p_to bigint, p_amount numeric,
    p_resolves text, p_reference text, p_created_at timestamptz,
    OUT status text, OUT total numeric, OUT unfinalized numeric, OUT held numeric
) LANGUAGE plpgsql AS $$
DECLARE
    v_asset text;
    v_version bigint;
    v_open bigint;
    v_houses bigint;
BEGIN
    IF p_resolves IS NOT NULL THEN
        PERFORM FROM customer_balance b WHERE b.account_id = p_customer FOR NO KEY UPDATE;
        SELECT e.* INTO status, total, unfinalized, held
        FROM ledger_earlier(p_key, p_kind, p_customer, p_from, p_to, p_amount, p_resolves, p_reference) e;
        IF FOUND THEN
            RETURN;
        END IF;
        v_open := ledger_open_posting(p_key, p_kind, p_customer, p_amount, p_resolves);
        IF v_open IS NULL THEN
            status := 'already_resolved';
            RETURN;
        END IF;
    END IF;

    IF p_customer IS NULL THEN
        SELECT h.asset INTO v_asset FROM house_balance h
        WHERE h.account_id = p_from AND p_kind = 'house_transfer';
    ELSE
        UPDATE customer_balance b
        SET version = b.version + 1,
            total = b.total + k.total_sign * p_amount,
            unfinalized = b.unfinalized + k.unfinalized_sign * p_amount,
            held = b.held + k.held_sign * p_amount
        FROM posting_kind k
        WHERE b.account_id = p_customer AND k.kind = p_kind
          AND k.total_sign = CASE p_customer WHEN p_to THEN 1 WHEN p_from THEN -1
                                             ELSE CASE num_nonnulls(p_from, p_to) WHEN 0 THEN 0 END END
          AND (k.resolves IS NULL) = (p_resolves IS NULL)
          AND CASE k.floor WHEN 'playable' THEN p_amount <= b.total - b.held
                           WHEN 'withdrawable' THEN p_amount <= b.total - b.held - b.unfinalized
                           ELSE true END
        RETURNING b.asset, b.version, b.total, b.unfinalized, b.held
        INTO v_asset, v_version, total, unfinalized, held;
    END IF;

    IF v_asset IS NOT NULL THEN
        INSERT INTO posting (customer, version, from_account, to_account, resolves, created_at, amount,
                             total_after, unfinalized_after, held_after, key, kind, asset, reference)
        VALUES (p_customer, v_version, p_from, p_to, v_open, p_created_at, p_amount,
                total, unfinalized, held, p_key, p_kind, v_asset, p_reference)
        ON CONFLICT (key) DO NOTHING;
        IF FOUND THEN
            INSERT INTO house_delta (account_id, amount)
            SELECT h.account_id, CASE h.account_id WHEN p_to THEN p_amount ELSE -p_amount END
            FROM house_balance h WHERE h.account_id IN (p_from, p_to) AND h.asset = v_asset;
            GET DIAGNOSTICS v_houses = ROW_COUNT;
            IF v_houses <> (num_nonnulls(p_from, p_to) > 0)::integer + (p_customer IS NULL)::integer THEN
                RAISE EXCEPTION 'posting %: accounts % and % do not fit', p_key, p_from, p_to
                    USING ERRCODE = 'LE002';
            END IF;
            status := 'created';
            RETURN;
        END IF;
        UPDATE customer_balance b
        SET version = b.version - 1,
            total = b.total - k.total_sign * p_amount,
            unfinalized = b.unfinalized - k.unfinalized_sign * p_amount,
            held = b.held - k.held_sign * p_amount
        FROM posting_kind k WHERE b.account_id = p_customer AND k.kind = p_kind;
    END IF;

    SELECT e.* INTO status, total, unfinalized, held
    FROM ledger_earlier(p_key, p_kind, p_customer, p_from, p_to, p_amount, p_resolves, p_reference) e;
    IF NOT FOUND THEN
        SELECT 'insufficient_funds', b.total, b.unfinalized, b.held INTO status, total, unfinalized, held
        FROM customer_balance b, posting_kind k
        WHERE b.account_id = p_customer AND k.kind = p_kind AND k.floor IS NOT NULL
          AND k.total_sign = CASE p_customer WHEN p_to THEN 1 WHEN p_from THEN -1
                                             ELSE CASE num_nonnulls(p_from, p_to) WHEN 0 THEN 0 END END
          AND (k.resolves IS NULL) = (p_resolves IS NULL);
        IF NOT FOUND THEN
            RAISE EXCEPTION 'posting %: % of account % from % to % does not fit',
                p_key, p_kind, p_customer, p_from, p_to USING ERRCODE = 'LE002';
        END IF;
    END IF;
END $$;

-- A batch in one round trip, answers in the order given. All customers' rows are locked first, in id order, so
-- that batches never deadlock on them. The common case (each posting new or an equal repetition, nothing
-- refused) is one set-based statement; anything else is posted one by one, with the same meaning.
--   p_all          one refusal raises LE003 (its detail: index and status), which undoes the transaction
--   p_one_by_one   skip the set-based attempt: the caller saw a key twice in the batch
CREATE FUNCTION ledger_post(
    p_keys text[], p_kinds text[], p_customers bigint[], p_froms bigint[], p_tos bigint[], p_amounts numeric[],
    p_resolves text[], p_references text[], p_created_at timestamptz, p_all boolean, p_one_by_one boolean
) RETURNS TABLE (status text, total numeric, unfinalized numeric, held numeric)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    PERFORM FROM customer_balance b WHERE b.account_id = ANY (p_customers)
    ORDER BY b.account_id FOR NO KEY UPDATE;

    IF NOT p_one_by_one THEN
        RETURN QUERY
        WITH given AS MATERIALIZED (
            SELECT g.*, k.total_sign, k.unfinalized_sign, k.held_sign, k.floor, k.resolves AS resolvable,
                   old.id AS old_id, old.total_after AS old_total, old.unfinalized_after AS old_unfinalized,
                   old.held_after AS old_held,
                   old.kind = g.kind AND old.amount = g.amount
                   AND old.customer IS NOT DISTINCT FROM g.customer
                   AND old.from_account IS NOT DISTINCT FROM g.from_account
                   AND old.to_account IS NOT DISTINCT FROM g.to_account
                   AND old.reference IS NOT DISTINCT FROM g.reference
                   AND old.resolves IS NOT DISTINCT FROM
                       CASE WHEN g.resolves IS NOT NULL
                            THEN (SELECT o.id FROM posting o WHERE o.key = g.resolves) END AS same
            FROM unnest(p_keys, p_kinds, p_customers, p_froms, p_tos, p_amounts, p_resolves, p_references)
                 WITH ORDINALITY
                 AS g (key, kind, customer, from_account, to_account, amount, resolves, reference, ordinal)
            LEFT JOIN posting_kind k ON k.kind = g.kind
            LEFT JOIN posting old ON old.key = g.key
        ), fresh AS MATERIALIZED (
            SELECT g.*, b.asset AS customer_asset, b.version + row_number() OVER w AS version,
                   b.total + sum(g.total_sign * g.amount) OVER w AS total_after,
                   b.unfinalized + sum(g.unfinalized_sign * g.amount) OVER w AS unfinalized_after,
                   b.held + sum(g.held_sign * g.amount) OVER w AS held_after,
                   lead(1) OVER w IS NULL AS is_last,
                   hf.asset AS from_asset, ht.asset AS to_asset,
                   CASE WHEN g.resolves IS NOT NULL THEN (
                       SELECT o.id FROM posting o
                       WHERE o.key = g.resolves AND o.customer = g.customer AND o.amount = g.amount
                         AND o.kind = ANY (g.resolvable)
                         AND NOT EXISTS (SELECT FROM posting r WHERE r.resolves = o.id)) END AS opener
            FROM given g
            LEFT JOIN customer_balance b ON b.account_id = g.customer
            LEFT JOIN house_balance hf ON hf.account_id = g.from_account
            LEFT JOIN house_balance ht ON ht.account_id = g.to_account
            WHERE g.old_id IS NULL
            WINDOW w AS (PARTITION BY g.customer ORDER BY g.ordinal ROWS UNBOUNDED PRECEDING)
        ), plain AS MATERIALIZED (
            SELECT (SELECT coalesce(bool_and(g.same), true) FROM given g WHERE g.old_id IS NOT NULL)
               AND (SELECT coalesce(bool_and(coalesce(
                        CASE WHEN f.kind = 'house_transfer'
                               THEN f.customer IS NULL AND f.from_asset = f.to_asset
                                    AND f.from_account <> f.to_account
                             WHEN f.total_sign = 1
                               THEN f.to_account = f.customer AND f.from_asset = f.customer_asset
                             WHEN f.total_sign = -1
                               THEN f.from_account = f.customer AND f.to_asset = f.customer_asset
                             ELSE f.customer_asset IS NOT NULL
                                  AND f.from_account IS NULL AND f.to_account IS NULL END
                        AND CASE f.floor
                              WHEN 'playable' THEN f.total_after >= f.held_after
                              WHEN 'withdrawable' THEN f.total_after - f.held_after >= f.unfinalized_after
                              ELSE true END
                        AND (f.resolvable IS NULL) = (f.resolves IS NULL)
                        AND (f.opener IS NULL) = (f.resolves IS NULL), false)), true) FROM fresh f) AS ok
        ), entries AS (
            INSERT INTO posting (customer, version, from_account, to_account, resolves, created_at, amount,
                                 total_after, unfinalized_after, held_after, key, kind, asset, reference)
            SELECT f.customer, CASE WHEN f.customer IS NOT NULL THEN f.version END, f.from_account, f.to_account,
                   f.opener, p_created_at, f.amount, f.total_after, f.unfinalized_after, f.held_after,
                   f.key, f.kind, coalesce(f.customer_asset, f.from_asset), f.reference
            FROM fresh f WHERE (SELECT ok FROM plain)
            ORDER BY f.customer, f.ordinal
        ), balances AS (
            UPDATE customer_balance b
            SET version = f.version, total = f.total_after, unfinalized = f.unfinalized_after,
                held = f.held_after
            FROM fresh f
            WHERE b.account_id = f.customer AND f.is_last AND (SELECT ok FROM plain)
        ), deltas AS (
            INSERT INTO house_delta (account_id, amount)
            SELECT side.account_id, sum(side.amount)
            FROM (SELECT f.from_account AS account_id, -f.amount AS amount FROM fresh f WHERE f.from_asset IS NOT NULL
                  UNION ALL
                  SELECT f.to_account, f.amount FROM fresh f WHERE f.to_asset IS NOT NULL) AS side
            WHERE (SELECT ok FROM plain)
            GROUP BY side.account_id
        )
        SELECT CASE WHEN g.old_id IS NULL THEN 'created' ELSE 'exists' END,
               CASE WHEN g.old_id IS NULL THEN f.total_after ELSE g.old_total END,
               CASE WHEN g.old_id IS NULL THEN f.unfinalized_after ELSE g.old_unfinalized END,
               CASE WHEN g.old_id IS NULL THEN f.held_after ELSE g.old_held END
        FROM given g LEFT JOIN fresh f ON f.ordinal = g.ordinal
        WHERE (SELECT ok FROM plain)
        ORDER BY g.ordinal;
        IF FOUND THEN
            RETURN;
        END IF;
    END IF;

    FOR i IN 1 .. cardinality(p_keys) LOOP
        SELECT o.* INTO status, total, unfinalized, held
        FROM ledger_post_one(p_keys[i], p_kinds[i], p_customers[i], p_froms[i], p_tos[i], p_amounts[i],
                             p_resolves[i], p_references[i], p_created_at) o;
        IF p_all AND status NOT IN ('created', 'exists') THEN
            RAISE EXCEPTION 'posting %: %', p_keys[i], status
                USING ERRCODE = 'LE003', DETAIL = i - 1 || ' ' || status;
        END IF;
        RETURN NEXT;
    END LOOP;
END $$;

-- A batch of one kind between one house account and customers of whom none stands there twice, all of it or nothing,
-- without answers: a full block's credits. The order within it means nothing, so one pass over the balances does it.
-- Should a key be taken, or anything not fit, that pass is undone and `ledger_post` finds out what is what.
CREATE FUNCTION ledger_post_alike(
    p_kind text, p_house bigint, p_keys text[], p_customers bigint[], p_amounts numeric[], p_created_at timestamptz
) RETURNS void LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_kind posting_kind;
    v_asset text;
    v_posted bigint;
    v_sum numeric;
    v_size integer := cardinality(p_keys);
    v_houses bigint[] := array_fill(p_house, ARRAY[v_size]);
    v_none text[] := array_fill(NULL::text, ARRAY[v_size]);
BEGIN
    SELECT k.* INTO STRICT v_kind FROM posting_kind k WHERE k.kind = p_kind;
    SELECT h.asset INTO v_asset FROM house_balance h WHERE h.account_id = p_house;
    PERFORM FROM customer_balance b WHERE b.account_id = ANY (p_customers)
    ORDER BY b.account_id FOR NO KEY UPDATE;
    BEGIN
        WITH moved AS (
            UPDATE customer_balance b
            SET version = b.version + 1,
                total = b.total + v_kind.total_sign * n.amount,
                unfinalized = b.unfinalized + v_kind.unfinalized_sign * n.amount,
                held = b.held + v_kind.held_sign * n.amount
            FROM unnest(p_keys, p_customers, p_amounts) AS n (key, customer, amount)
            WHERE b.account_id = n.customer AND b.asset = v_asset
              AND v_kind.resolves IS NULL AND v_kind.total_sign <> 0
              AND CASE v_kind.floor WHEN 'playable' THEN n.amount <= b.total - b.held
                                    WHEN 'withdrawable' THEN n.amount <= b.total - b.held - b.unfinalized
                                    ELSE true END
            RETURNING n.key, n.amount, b.account_id, b.version, b.total, b.unfinalized, b.held
        ), entries AS (
            INSERT INTO posting (customer, version, from_account, to_account, created_at, amount,
                                 total_after, unfinalized_after, held_after, key, kind, asset)
            SELECT m.account_id, m.version,
                   CASE v_kind.total_sign WHEN 1 THEN p_house ELSE m.account_id END,
                   CASE v_kind.total_sign WHEN 1 THEN m.account_id ELSE p_house END,
                   p_created_at, m.amount, m.total, m.unfinalized, m.held, m.key, p_kind, v_asset
            FROM moved m
        )
        SELECT count(*), sum(m.amount) INTO v_posted, v_sum FROM moved m;
        IF v_posted = v_size THEN
            INSERT INTO house_delta (account_id, amount) VALUES (p_house, -v_kind.total_sign * v_sum);
            RETURN;
        END IF;
        RAISE unique_violation;
    EXCEPTION WHEN unique_violation THEN
    END;
    PERFORM FROM ledger_post(
        p_keys, array_fill(p_kind, ARRAY[v_size]), p_customers,
        CASE v_kind.total_sign WHEN 1 THEN v_houses ELSE p_customers END,
        CASE v_kind.total_sign WHEN 1 THEN p_customers ELSE v_houses END,
        p_amounts, v_none, v_none, p_created_at, true, false);
END $$;

-- Folds what postings left in house_delta into house_balance; how many deltas. Any number may run at once:
-- one does the work, the others do nothing.
CREATE FUNCTION ledger_roll_up() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_folded bigint;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtextextended('cryptowatch.ledger_roll_up', 0)) THEN
        RETURN 0;
    END IF;
    WITH taken AS (
        DELETE FROM house_delta RETURNING account_id, amount
    ), sums AS (
        SELECT t.account_id, sum(t.amount) AS amount, count(*) AS deltas FROM taken t GROUP BY t.account_id
    ), folded AS (
        UPDATE house_balance h SET rolled_up = h.rolled_up + s.amount
        FROM sums s WHERE h.account_id = s.account_id
    )
    SELECT coalesce(sum(s.deltas), 0) INTO v_folded FROM sums s;
    RETURN v_folded;
END $$;

-- The event log (P8): one row per state change, written in the transaction that makes it.
CREATE TABLE event (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    entity_version bigint NOT NULL CHECK (entity_version > 0),
    created_at     timestamptz NOT NULL,
    account_id     uuid,
    type           text NOT NULL,
    entity_kind    text NOT NULL,
    entity_id      text COLLATE "C" NOT NULL,
    -- Delivered to consumers byte for byte, so json and not jsonb.
    data           json NOT NULL,
    UNIQUE (entity_id, entity_kind, entity_version)
);
CREATE INDEX event_of_account ON event (account_id, id) WHERE account_id IS NOT NULL;

-- Ids are taken before commit, so a reader following ids could pass one that commits late. Events wait here,
-- by the same transaction, for a position that is given after commit and has no gaps.
-- One row holds the ids of up to 1,000 events of one statement, ascending: a row for each event cost as much again as
-- an index on the events.
CREATE TABLE event_queue (
    first_id  bigint PRIMARY KEY,
    event_ids bigint[] NOT NULL CHECK (event_ids[1] = first_id)
);
CREATE TABLE event_position (
    position bigint PRIMARY KEY CHECK (position > 0),
    event_id bigint NOT NULL UNIQUE
);

CREATE FUNCTION queue_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO event_queue (first_id, event_ids)
    SELECT min(n.id), array_agg(n.id ORDER BY n.id)
    FROM (SELECT e.id, (row_number() OVER (ORDER BY e.id) - 1) / 1000 AS part FROM new_event e) AS n
    GROUP BY n.part;
    RETURN NULL;
END $$;
CREATE TRIGGER queue_events AFTER INSERT ON event REFERENCING NEW TABLE AS new_event
    FOR EACH STATEMENT EXECUTE FUNCTION queue_events();

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON event
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE event ENABLE ALWAYS TRIGGER append_only;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON event_position
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE event_position ENABLE ALWAYS TRIGGER append_only;

-- Gives the next positions to committed events, oldest first, by whole rows of the queue until p_limit is reached; how
-- many. A statement that tells of an entity begins after the one that told of it before, so its ids are all higher: what
-- is taken never leaves out an earlier event of an entity. One sequencer works at a time; another one that comes
-- meanwhile does nothing.
CREATE FUNCTION sequence_events(p_limit bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_head bigint;
    v_sequenced bigint;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtextextended('cryptowatch.sequence_events', 0)) THEN
        RETURN 0;
    END IF;
    SELECT coalesce(max(p.position), 0) INTO v_head FROM event_position p;
    WITH taken AS (
        DELETE FROM event_queue q
        WHERE q.first_id IN (
            SELECT w.first_id
            FROM (SELECT h.first_id,
                         sum(cardinality(h.event_ids)) OVER (ORDER BY h.first_id) - cardinality(h.event_ids) AS before
                  FROM (SELECT * FROM event_queue ORDER BY first_id LIMIT p_limit) AS h) AS w
            WHERE w.before < p_limit)
        RETURNING q.event_ids
    )
    INSERT INTO event_position (position, event_id)
    SELECT v_head + row_number() OVER (ORDER BY e.id), e.id FROM taken t, unnest(t.event_ids) AS e (id);
    GET DIAGNOSTICS v_sequenced = ROW_COUNT;
    RETURN v_sequenced;
END $$;
