-- Events are appended by a function, so that a statement of any feature can tell what it changes in its own round trip.
SET LOCAL lock_timeout = '10s';

-- Events in the order given, one for each place of the arrays; a trigger queues each for its position.
CREATE FUNCTION append_events(
    p_types text[], p_entity_kinds text[], p_entity_ids text[], p_entity_versions bigint[], p_account_ids uuid[],
    p_data json[], p_created_at timestamptz[]
) RETURNS void LANGUAGE sql AS $$
    INSERT INTO event (type, entity_kind, entity_id, entity_version, account_id, data, created_at)
    SELECT n.type, n.entity_kind, n.entity_id, n.entity_version, n.account_id, n.data, n.created_at
    FROM unnest(p_types, p_entity_kinds, p_entity_ids, p_entity_versions, p_account_ids, p_data, p_created_at)
         WITH ORDINALITY
         AS n (type, entity_kind, entity_id, entity_version, account_id, data, created_at, place)
    ORDER BY n.place
$$;
