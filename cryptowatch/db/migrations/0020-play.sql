-- What games move, in one round trip: postings, what was played on the day, rounds.
SET LOCAL lock_timeout = '10s';

-- An entry is found by its round and id (`round_entry_of_round`): the id, which the sequence keeps unique, needs no index
-- of its own.
-- squawk-ignore ban-drop-constraint
ALTER TABLE round_entry DROP CONSTRAINT round_entry_pkey;

-- `ledger_post` for kinds that change the total alone, each between a customer and a house account; answers in the order
-- given. A customer's first posting is made in the first pass, its second in the second: so a pass meets each balance
-- once, and needs neither windows nor a look for earlier postings (the keys' index refuses one that is there). What a
-- pass cannot make is left to `ledger_post`, before the next one; and all of it where one customer would need more passes
-- than are worth it.
--   p_one_by_one   leave all to it: the caller saw a key twice in the batch
CREATE FUNCTION ledger_post_played(
    p_keys text[], p_kinds text[], p_customers bigint[], p_houses bigint[], p_amounts numeric[], p_references text[],
    p_created_at timestamptz, p_one_by_one boolean,
    OUT statuses text[], OUT totals numeric[], OUT unfinalized_parts numeric[], OUT held_parts numeric[]
) LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_passes bigint[];
    v_last bigint := 1;
    v_refused boolean := true;
    v_whole boolean := p_one_by_one;
    v_ordinals bigint[];
    v_made bigint[];
    v_totals numeric[];
    v_unfinalized numeric[];
    v_held numeric[];
    v_left record;
BEGIN
    PERFORM FROM customer_balance b WHERE b.account_id = ANY (p_customers)
    ORDER BY b.account_id FOR NO KEY UPDATE;
    IF NOT p_one_by_one AND (SELECT count(DISTINCT c.id) FROM unnest(p_customers) AS c (id)) < cardinality(p_keys) THEN
        SELECT array_agg(c.pass ORDER BY c.ordinal), max(c.pass) INTO v_passes, v_last
        FROM (SELECT u.ordinal, row_number() OVER (PARTITION BY u.customer ORDER BY u.ordinal) AS pass
              FROM unnest(p_customers) WITH ORDINALITY AS u (customer, ordinal)) AS c;
        IF v_last > 8 THEN
            v_whole := true;
            v_passes := NULL;
            v_last := 1;
        END IF;
    END IF;
    FOR v_pass IN 1 .. v_last LOOP
        BEGIN
            WITH wanted AS MATERIALIZED (
                SELECT n.*, k.total_sign, k.floor, h.asset
                FROM unnest(p_keys, p_kinds, p_customers, p_houses, p_amounts, p_references, v_passes) WITH ORDINALITY
                     AS n (key, kind, customer, house, amount, reference, pass, ordinal)
                JOIN posting_kind k ON k.kind = n.kind AND k.total_sign <> 0 AND k.unfinalized_sign = 0
                    AND k.held_sign = 0 AND k.resolves IS NULL AND k.floor IS DISTINCT FROM 'withdrawable'
                JOIN house_balance h ON h.account_id = n.house
                WHERE NOT v_whole AND (v_passes IS NULL OR n.pass = v_pass)
            ), moved AS MATERIALIZED (
                UPDATE customer_balance b
                SET version = b.version + 1, total = b.total + w.total_sign * w.amount
                FROM wanted w
                WHERE b.account_id = w.customer AND b.asset = w.asset
                  AND (w.floor IS NULL OR w.amount <= b.total - b.held)
                RETURNING w.*, b.version, b.total, b.unfinalized, b.held
            ), entries AS (
                INSERT INTO posting (customer, version, from_account, to_account, created_at, amount,
                                     total_after, unfinalized_after, held_after, key, kind, asset, reference)
                SELECT m.customer, m.version, CASE m.total_sign WHEN 1 THEN m.house ELSE m.customer END,
                       CASE m.total_sign WHEN 1 THEN m.customer ELSE m.house END, p_created_at, m.amount,
                       m.total, m.unfinalized, m.held, m.key, m.kind, m.asset, m.reference
                FROM moved m
            ), deltas AS (
                INSERT INTO house_delta (account_id, amount)
                SELECT m.house, -sum(m.total_sign * m.amount) FROM moved m GROUP BY m.house
            )
            SELECT array_agg(m.ordinal ORDER BY m.ordinal), array_agg(m.total ORDER BY m.ordinal),
                   array_agg(m.unfinalized::numeric ORDER BY m.ordinal), array_agg(m.held::numeric ORDER BY m.ordinal)
            INTO v_made, v_totals, v_unfinalized, v_held FROM moved m;
            v_refused := p_one_by_one OR NOT v_whole;
            v_ordinals := v_ordinals || v_made;
            statuses := statuses || array_fill('created'::text, ARRAY[coalesce(cardinality(v_made), 0)]);
            totals := totals || v_totals;
            unfinalized_parts := unfinalized_parts || v_unfinalized;
            held_parts := held_parts || v_held;
        EXCEPTION WHEN unique_violation THEN
            v_refused := p_one_by_one;
            v_made := NULL;
        END;
        IF cardinality(v_made) = cardinality(p_keys) THEN
            RETURN;
        END IF;
        SELECT array_agg(n.ordinal ORDER BY n.ordinal) AS ordinals, array_agg(n.key ORDER BY n.ordinal) AS keys,
               array_agg(n.kind ORDER BY n.ordinal) AS kinds, array_agg(n.customer ORDER BY n.ordinal) AS customers,
               array_agg(CASE k.total_sign WHEN 1 THEN n.house ELSE n.customer END ORDER BY n.ordinal) AS froms,
               array_agg(CASE k.total_sign WHEN 1 THEN n.customer ELSE n.house END ORDER BY n.ordinal) AS tos,
               array_agg(n.amount ORDER BY n.ordinal) AS amounts, array_agg(NULL::text) AS resolves,
               array_agg(n.reference ORDER BY n.ordinal) AS notes
        INTO v_left
        FROM unnest(p_keys, p_kinds, p_customers, p_houses, p_amounts, p_references, v_passes) WITH ORDINALITY
             AS n (key, kind, customer, house, amount, reference, pass, ordinal)
        LEFT JOIN posting_kind k ON k.kind = n.kind
        WHERE (v_passes IS NULL OR n.pass = v_pass) AND n.ordinal <> ALL (coalesce(v_made, '{}'));
        CONTINUE WHEN v_left.ordinals IS NULL;
        SELECT v_ordinals || v_left.ordinals, statuses || array_agg(p.status ORDER BY p.ordinal),
               totals || array_agg(p.total ORDER BY p.ordinal),
               unfinalized_parts || array_agg(p.unfinalized ORDER BY p.ordinal),
               held_parts || array_agg(p.held ORDER BY p.ordinal)
        INTO v_ordinals, statuses, totals, unfinalized_parts, held_parts
        FROM ledger_post(v_left.keys, v_left.kinds, v_left.customers, v_left.froms, v_left.tos, v_left.amounts,
                         v_left.resolves, v_left.notes, p_created_at, false, v_refused)
             WITH ORDINALITY AS p (status, total, unfinalized, held, ordinal);
    END LOOP;
    SELECT array_agg(a.status ORDER BY a.ordinal), array_agg(a.total ORDER BY a.ordinal),
           array_agg(a.unfinalized ORDER BY a.ordinal), array_agg(a.held ORDER BY a.ordinal)
    INTO statuses, totals, unfinalized_parts, held_parts
    FROM unnest(v_ordinals, statuses, totals, unfinalized_parts, held_parts) AS a (ordinal, status, total, unfinalized, held);
END $$;

-- Bets, wins, refunds, bonuses and corrections of players, each standing for itself, with what they add to the day and
-- to rounds; answers in the order given. `made_at` is when each was made, NULL when all of them were now. No row: a player
-- has no account of its asset yet, and nothing was done.
CREATE FUNCTION play_post(
    p_keys text[], p_kinds text[], p_players uuid[], p_assets text[], p_houses bigint[], p_amounts numeric[],
    p_references text[], p_products text[], p_rounds text[], p_created_at timestamptz, p_one_by_one boolean
) RETURNS TABLE (
    statuses text[], totals numeric[], unfinalized numeric[], held numeric[], made_at timestamptz[]
)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_customers bigint[];
    v_posted record;
BEGIN
    SELECT array_agg(a.id ORDER BY n.ordinal) INTO v_customers
    FROM unnest(p_players, p_assets) WITH ORDINALITY AS n (player, asset, ordinal)
    JOIN ledger_account a
        ON a.owner_id = n.player AND a.asset = n.asset AND a.role = 'main' AND a.owner_kind = 'player';
    IF cardinality(v_customers) IS DISTINCT FROM cardinality(p_keys) THEN
        RETURN;
    END IF;
    SELECT * INTO v_posted
    FROM ledger_post_played(p_keys, p_kinds, v_customers, p_houses, p_amounts, p_references, p_created_at, p_one_by_one);

    -- In one order, and after the balances' rows are locked: no two batches wait for each other in a ring.
    INSERT INTO play_day AS d (day, account_id, asset, product, bet, win, refund, bonus, bets)
    SELECT (p_created_at AT TIME ZONE 'UTC')::date, n.player, n.asset, n.product,
           coalesce(sum(n.amount) FILTER (WHERE n.kind = 'bet'), 0),
           coalesce(sum(n.amount) FILTER (WHERE n.kind = 'win'), 0),
           coalesce(sum(n.amount) FILTER (WHERE n.kind = 'refund'), 0),
           coalesce(sum(n.amount) FILTER (WHERE n.kind = 'bonus'), 0),
           count(*) FILTER (WHERE n.kind = 'bet')
    FROM unnest(p_players, p_assets, p_products, p_kinds, p_amounts, v_posted.statuses)
         AS n (player, asset, product, kind, amount, status)
    WHERE n.status = 'created' AND n.kind IN ('bet', 'win', 'refund', 'bonus')
    GROUP BY n.player, n.asset, n.product
    ORDER BY n.player, n.asset, n.product
    ON CONFLICT (account_id, day, asset, product) DO UPDATE SET
        bet = d.bet + EXCLUDED.bet, win = d.win + EXCLUDED.win, refund = d.refund + EXCLUDED.refund,
        bonus = d.bonus + EXCLUDED.bonus, bets = d.bets + EXCLUDED.bets;

    INSERT INTO round_entry (round, product, account_id, asset, kind, amount, key, created_at)
    SELECT n.round, n.product, n.player, n.asset, n.kind, n.amount, n.key, p_created_at
    FROM unnest(p_rounds, p_products, p_players, p_assets, p_kinds, p_amounts, p_keys, v_posted.statuses)
         WITH ORDINALITY AS n (round, product, player, asset, kind, amount, key, status, ordinal)
    WHERE n.status = 'created' AND n.round IS NOT NULL AND n.kind IN ('bet', 'win', 'refund', 'bonus')
    ORDER BY n.ordinal;

    IF 'exists' = ANY (v_posted.statuses) THEN
        SELECT array_agg(coalesce(p.created_at, p_created_at) ORDER BY n.ordinal) INTO made_at
        FROM unnest(p_keys) WITH ORDINALITY AS n (key, ordinal) LEFT JOIN posting p ON p.key = n.key;
    END IF;
    statuses := v_posted.statuses;
    totals := v_posted.totals;
    unfinalized := v_posted.unfinalized_parts;
    held := v_posted.held_parts;
    RETURN NEXT;
END $$;
