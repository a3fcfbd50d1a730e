-- A plan is kept as it was made when the tables were all but empty, until Postgres has looked at them anew. One that reads
-- a whole table for each posting of a batch is then the worst that there is: on a new database a block that made eight
-- thousand deposits of one player final took twelve seconds, and one of twice as many never ended. So what a batch looks
-- up it looks up one by one (OFFSET 0 keeps Postgres from making a join of it), and by indexes.
SET LOCAL lock_timeout = '10s';

CREATE OR REPLACE FUNCTION ledger_open_posting(
    p_key text, p_kind text, p_customer bigint, p_amount numeric, p_resolves text
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_opener posting;
BEGIN
    SELECT o.* INTO v_opener FROM posting o WHERE o.key = p_resolves;
    IF v_opener.customer IS DISTINCT FROM p_customer OR v_opener.amount <> p_amount
       OR v_opener.kind <> ALL ((SELECT k.resolves FROM posting_kind k WHERE k.kind = p_kind)::text[]) THEN
        v_opener := NULL;
    END IF;
    IF v_opener.id IS NULL THEN
        RAISE EXCEPTION 'posting %: % has nothing to resolve in %', p_key, p_kind, p_resolves
            USING ERRCODE = 'LE002';
    END IF;
    PERFORM FROM posting r WHERE r.resolves = v_opener.id;
    RETURN CASE WHEN NOT FOUND THEN v_opener.id END;
END $$;

-- As in 0001 otherwise, but for the last query: it joined what was given with what came of it once more, row by row.
CREATE OR REPLACE FUNCTION ledger_post(
    p_keys text[], p_kinds text[], p_customers bigint[], p_froms bigint[], p_tos bigint[], p_amounts numeric[],
    p_resolves text[], p_references text[], p_created_at timestamptz, p_all boolean, p_one_by_one boolean
) RETURNS TABLE (status text, total numeric, unfinalized numeric, held numeric)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
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
            LEFT JOIN LATERAL (SELECT p.* FROM posting p WHERE p.key = g.key OFFSET 0) AS old ON true
        ), fresh AS MATERIALIZED (
            SELECT g.*, b.asset AS customer_asset, b.version + row_number() OVER w AS version,
                   b.total + sum(g.total_sign * g.amount) OVER w AS total_after,
                   b.unfinalized + sum(g.unfinalized_sign * g.amount) OVER w AS unfinalized_after,
                   b.held + sum(g.held_sign * g.amount) OVER w AS held_after,
                   lead(1) OVER w IS NULL AS is_last,
                   hf.asset AS from_asset, ht.asset AS to_asset,
                   CASE WHEN o.customer = g.customer AND o.amount = g.amount AND o.kind = ANY (g.resolvable)
                         AND r.id IS NULL THEN o.id END AS opener
            FROM given g
            LEFT JOIN LATERAL (SELECT p.* FROM posting p WHERE p.key = g.resolves OFFSET 0) AS o ON true
            LEFT JOIN LATERAL (SELECT p.id FROM posting p WHERE p.resolves = o.id OFFSET 0) AS r ON true
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
        SELECT a.status, a.total, a.unfinalized, a.held
        FROM (SELECT f.ordinal, 'created', f.total_after, f.unfinalized_after, f.held_after FROM fresh f
              UNION ALL
              SELECT g.ordinal, 'exists', g.old_total, g.old_unfinalized, g.old_held FROM given g
              WHERE g.old_id IS NOT NULL) AS a (ordinal, status, total, unfinalized, held)
        WHERE (SELECT ok FROM plain)
        ORDER BY a.ordinal;
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
