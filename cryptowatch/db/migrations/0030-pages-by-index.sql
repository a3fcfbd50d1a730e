-- A page of the feed is read by position and id, one event after the other, as 0028 has it for portions: who delivers, and
-- who asks the API, read all events for each page after the tables had been analyzed while they were small, so that
-- deliveries took ten times as long as the feed grew, until the tables were analyzed anew.
SET LOCAL lock_timeout = '10s';

-- The next events, up to a position or to the end (NULL). 0028's `events_between` is read by types and to its end; these stop
-- at a limit, which a sort or a bitmap would not.
CREATE FUNCTION events_after(p_after bigint, p_limit bigint, p_until bigint)
RETURNS TABLE (
    "position" bigint, id bigint, type text, entity_kind text, entity_id text, entity_version bigint, account_id uuid,
    data json, created_at timestamptz
) LANGUAGE plpgsql STABLE SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT p.position, told.*
    FROM event_position p
    CROSS JOIN LATERAL (
        SELECT e.id, e.type, e.entity_kind, e.entity_id, e.entity_version, e.account_id, e.data, e.created_at
        FROM event e WHERE e.id = p.event_id OFFSET 0) AS told
    WHERE p.position > p_after AND p.position <= coalesce(p_until, 9223372036854775807)
    ORDER BY p.position LIMIT p_limit;
END $$;

-- The same of one account, of some types or of all (NULL). Written so that no other index has its order.
CREATE FUNCTION events_of_account(p_after bigint, p_limit bigint, p_types text[], p_account uuid, p_until bigint)
RETURNS TABLE (
    "position" bigint, id bigint, type text, entity_kind text, entity_id text, entity_version bigint, account_id uuid,
    data json, created_at timestamptz
) LANGUAGE plpgsql STABLE SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT p.position, told.*
    FROM event_position p
    CROSS JOIN LATERAL (
        SELECT e.id, e.type, e.entity_kind, e.entity_id, e.entity_version, e.account_id, e.data, e.created_at
        FROM event e WHERE e.id = p.event_id OFFSET 0) AS told
    WHERE p.account_id IS NOT NULL AND (p.account_id, p.position) > (p_account, p_after)
      AND (p.account_id, p.position) <= (p_account, coalesce(p_until, 9223372036854775807))
      AND (p_types IS NULL OR told.type = ANY (p_types))
    ORDER BY p.account_id, p.position LIMIT p_limit;
END $$;
