-- Outcomes reach their deliveries by id, and after their endpoints.
--
-- What waits is written to while Postgres still knows the table as it was when it was small, and a join of outcomes
-- with deliveries then looks at all that waits for each of them (256 of 10,000: 0.75 s). So there is no join here: the
-- ids are the only way to the rows, since no index knows what the states are asked with.
--
-- And who fans out holds an endpoint when it takes up the deliveries of a replay again: who held deliveries and then
-- wanted their endpoint could wait for it in a ring. (Deliveries that are under way while a replay takes them up still
-- can, as one goes by ids and the other by positions: Postgres undoes one of the two, and it is done again.)
SET LOCAL lock_timeout = '10s';

-- Of attempts that succeeded; one that lost its lease to another is dropped. Of endpoints that answer, failures are
-- forgotten. Ids ascend; of one that stands there twice the first counts, and the other as if it had lost its lease.
CREATE FUNCTION deliveries_arrived(
    p_ids uuid[], p_attempts integer[], p_statuses smallint[], p_endpoints uuid[], p_now timestamptz
) RETURNS void LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
    v_held uuid[];
BEGIN
    SELECT array_agg(h.id) INTO v_held FROM (
        SELECT e.id FROM webhook_endpoint e WHERE e.id = ANY (p_endpoints) AND e.failures > 0
        ORDER BY e.id FOR NO KEY UPDATE) AS h;
    IF v_held IS NOT NULL THEN
        UPDATE webhook_endpoint e SET failures = 0, paused_until = NULL, failing_since = NULL WHERE e.id = ANY (v_held);
    END IF;
    UPDATE webhook_delivery d SET
        state = 'delivered', leased_until = NULL, last_status = p_statuses[array_position(p_ids, d.id)],
        last_problem = NULL, updated_at = p_now
    WHERE d.id = ANY (p_ids)
      AND CASE d.state WHEN 'pending' THEN d.attempts = p_attempts[array_position(p_ids, d.id)] ELSE false END;
END $$;

-- The same of attempts that did not succeed. The caller holds the endpoints.
CREATE FUNCTION deliveries_failed(
    p_ids uuid[], p_attempts integer[], p_states text[], p_next_attempts_at timestamptz[], p_statuses smallint[],
    p_problems text[], p_now timestamptz
) RETURNS void LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off AS $$
BEGIN
    UPDATE webhook_delivery d SET
        (state, next_attempt_at, last_status, last_problem) = (
            SELECT p_states[n], p_next_attempts_at[n], p_statuses[n], p_problems[n]
            FROM array_position(p_ids, d.id) AS n),
        leased_until = NULL, updated_at = p_now
    WHERE d.id = ANY (p_ids)
      AND CASE d.state WHEN 'pending' THEN d.attempts = p_attempts[array_position(p_ids, d.id)] ELSE false END;
END $$;

-- Claimed deliveries are given back without an attempt: the worker ends.
CREATE FUNCTION deliveries_released(p_ids uuid[], p_attempts integer[]) RETURNS void LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off AS $$
BEGIN
    UPDATE webhook_delivery d SET leased_until = NULL, attempts = d.attempts - 1
    WHERE d.id = ANY (p_ids)
      AND CASE d.state WHEN 'pending' THEN d.attempts = p_attempts[array_position(p_ids, d.id)] ELSE false END;
END $$;
