-- A portion of the feed is read by position and id, one event after the other: what 0026 and 0027 say of plans made for
-- empty tables was true of its readers as well. For each event of a portion all events were read, so that each reader of a
-- new database's feed took a core at times, until the tables were analyzed.
SET LOCAL lock_timeout = '10s';

-- Of some types, or of all (NULL). Positions have no gaps.
CREATE FUNCTION events_between(p_after bigint, p_until bigint, p_types text[])
RETURNS TABLE (
    "position" bigint, id bigint, type text, entity_kind text, entity_id text, entity_version bigint, account_id uuid,
    data json, created_at timestamptz
) LANGUAGE plpgsql STABLE SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT p.position, told.*
    FROM event_position p
    CROSS JOIN LATERAL (
        SELECT e.id, e.type, e.entity_kind, e.entity_id, e.entity_version, e.account_id, e.data, e.created_at
        FROM event e WHERE e.id = p.event_id OFFSET 0) AS told
    WHERE p.position > p_after AND p.position <= p_until AND (p_types IS NULL OR told.type = ANY (p_types))
    ORDER BY p.position;
END $$;

-- The last position given, 0 before the first.
CREATE FUNCTION feed_head() RETURNS bigint LANGUAGE plpgsql STABLE SET enable_seqscan = off AS $$
BEGIN
    RETURN (SELECT coalesce(max(p.position), 0) FROM event_position p);
END $$;
