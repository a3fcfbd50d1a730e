-- name: statements
-- These, with their flags.
SELECT s.*, a.account_id,
       (SELECT json_agg(json_build_object('anomaly', f.anomaly, 'compared', f.compared, 'dismissed_by', f.dismissed_by,
                                          'reason', f.reason) ORDER BY f.anomaly)::text
        FROM agent_flag f WHERE f.statement_id = s.id) AS flags
FROM agent_statement s JOIN agent a ON a.id = s.agent_id WHERE s.id = ANY ($1) ORDER BY s.id

-- name: newest
-- A page of all, of one agent, or of one and all under it, newest first.
SELECT s.*, a.account_id,
       (SELECT json_agg(json_build_object('anomaly', f.anomaly, 'compared', f.compared, 'dismissed_by', f.dismissed_by,
                                          'reason', f.reason) ORDER BY f.anomaly)::text
        FROM agent_flag f WHERE f.statement_id = s.id) AS flags
FROM agent_statement s JOIN agent a ON a.id = s.agent_id
WHERE ($1::uuid IS NULL OR a.id = $1 OR a.path @> ARRAY[$1]) AND ($2::uuid IS NULL OR s.agent_id = $2)
  AND ($3::text IS NULL OR s.state = $3) AND ($4::uuid IS NULL OR s.id < $4)
ORDER BY s.id DESC LIMIT $5

-- name: lines
-- What a statement is made of: so many accounts below one, with all their products.
SELECT l.* FROM agent_statement_line l
WHERE l.statement_id = $1 AND l.account_id IN (
    SELECT DISTINCT account_id FROM agent_statement_line
    WHERE statement_id = $1 AND ($2::uuid IS NULL OR account_id < $2) ORDER BY account_id DESC LIMIT $3)
ORDER BY l.account_id DESC, l.product

-- name: decimals
-- Of an asset, as a statement remembers them.
SELECT decimals FROM agent_statement WHERE asset = $1 AND decimals IS NOT NULL LIMIT 1
