-- Events are appended by a function, so that a statement of any feature can tell what it changes in its own round trip. A case
-- has all that its rule found while it was open. Terms of referrals keep the decimals of their assets. Who
-- does not answer about a deposit is asked again.
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

-- What rules found, each once for a deposit or withdrawal (P2), with the case that it opened or that was open.
CREATE TABLE case_finding (
    id          uuid PRIMARY KEY,
    case_id     uuid NOT NULL REFERENCES compliance_case,
    rule        text NOT NULL,
    subject     text NOT NULL,
    compared    json NOT NULL,
    created_at  timestamptz NOT NULL,
    UNIQUE (subject, rule)
);
CREATE INDEX case_finding_of_case ON case_finding (case_id, id);
INSERT INTO case_finding (id, case_id, rule, subject, compared, created_at)
SELECT id, id, rule, subject, compared, created_at FROM compliance_case;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON case_finding
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE case_finding ENABLE ALWAYS TRIGGER append_only;

-- How many there are: who decides may say how many he saw.
ALTER TABLE compliance_case ADD COLUMN findings integer NOT NULL DEFAULT 1;

-- By asset that the terms name, as it was when they were given: amounts are read and shown by it also when no settings have
-- the asset any more. NULL in terms that were given before.
ALTER TABLE referral_terms ADD COLUMN decimals json;

-- Since when the provider was asked in vain about a deposit's sources, and when it is asked again. NULL: it was not yet.
ALTER TABLE source_screening_queue ADD COLUMN unanswered_since timestamptz, ADD COLUMN ask_at timestamptz;
