-- name: insert_plan
-- One more plan.
INSERT INTO commission_plan (id, name, document, created_at) VALUES ($1, $2, $3, $4) RETURNING *

-- name: plan
-- One plan.
SELECT * FROM commission_plan WHERE id = $1

-- name: plans
-- A page of plans, newest first: all, or those of an agent and of those under it.
SELECT * FROM commission_plan p
WHERE ($1::uuid IS NULL OR p.id < $1)
  AND ($3::uuid IS NULL OR EXISTS (SELECT FROM agent_plan h JOIN agent a ON a.id = h.agent_id
                                   WHERE h.plan_id = p.id AND (a.id = $3 OR a.path @> ARRAY[$3])))
ORDER BY p.id DESC LIMIT $2

-- name: is_plan_below
-- Whether a plan is, was or will be that of an agent, or of one under it.
SELECT EXISTS (SELECT FROM agent_plan h JOIN agent a ON a.id = h.agent_id
               WHERE h.plan_id = $1 AND (a.id = $2 OR a.path @> ARRAY[$2]))

-- name: hold_agent
-- One agent, nobody else's until the transaction ends.
SELECT * FROM agent WHERE id = $1 FOR NO KEY UPDATE

-- name: insert_agent
-- One more; no row when its account is another one's.
INSERT INTO agent (id, account_id, parent_id, path, name, jurisdictions, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $7)
ON CONFLICT (account_id) DO NOTHING
RETURNING id

-- name: patch_agent
-- What is NULL stays; $6: its plan changes. No row when nothing does.
UPDATE agent SET
    name = coalesce($2, name),
    status = coalesce($3, status),
    jurisdictions = coalesce($4, jurisdictions),
    version = version + 1,
    updated_at = $5
WHERE id = $1
  AND ($6 OR (name, status, jurisdictions) IS DISTINCT FROM
             (coalesce($2, name), coalesce($3, status), coalesce($4, jurisdictions)))
RETURNING version

-- name: set_plan
-- Its plan from a day on.
INSERT INTO agent_plan (agent_id, since, plan_id) VALUES ($1, $2, $3)
ON CONFLICT (agent_id, since) DO UPDATE SET plan_id = EXCLUDED.plan_id

-- name: plan_on
-- Its plan on a day; before the first one, the first one.
SELECT plan_id FROM agent_plan WHERE agent_id = $1
ORDER BY since <= $2 DESC, CASE WHEN since <= $2 THEN since END DESC, since LIMIT 1

-- name: agent
-- One agent, with its plan and how many it has below.
SELECT a.*, p.plan_id,
       (SELECT count(*) FROM agent_player o WHERE o.agent_id = a.id AND o.since <= $2 AND NOT EXISTS (
            SELECT FROM agent_player n WHERE n.account_id = o.account_id AND n.since > o.since AND n.since <= $2)
       ) AS players,
       (SELECT count(*) FROM agent c WHERE c.parent_id = a.id) AS agents
FROM agent a
CROSS JOIN LATERAL (SELECT plan_id FROM agent_plan WHERE agent_id = a.id AND since <= $2
                    ORDER BY since DESC LIMIT 1) p
WHERE a.id = $1

-- name: agents
-- A page of all, or of those anywhere under one, newest first.
SELECT a.*, p.plan_id,
       (SELECT count(*) FROM agent_player o WHERE o.agent_id = a.id AND o.since <= $4 AND NOT EXISTS (
            SELECT FROM agent_player n WHERE n.account_id = o.account_id AND n.since > o.since AND n.since <= $4)
       ) AS players,
       (SELECT count(*) FROM agent c WHERE c.parent_id = a.id) AS agents
FROM agent a
CROSS JOIN LATERAL (SELECT plan_id FROM agent_plan WHERE agent_id = a.id AND since <= $4
                    ORDER BY since DESC LIMIT 1) p
WHERE ($1::uuid IS NULL OR a.path @> ARRAY[$1]) AND ($2::uuid IS NULL OR a.id < $2)
ORDER BY a.id DESC LIMIT $3

-- name: is_below
-- Whether an agent is that one or stands under it.
SELECT EXISTS (SELECT FROM agent WHERE id = $1 AND (id = $2 OR path @> ARRAY[$2]))

-- name: hold_for_assignment
-- What decides whether an account can be an agent's player; one change of an account at a time.
SELECT c.jurisdiction, own.id AS account_agent, a.path, a.jurisdictions
FROM account c
JOIN agent a ON a.id = $2
LEFT JOIN agent own ON own.account_id = c.id
WHERE c.id = $1 FOR NO KEY UPDATE OF c

-- name: latest_assignment
-- Whose player an account is, or will be tomorrow.
SELECT p.account_id, p.since, p.agent_id, c.external_id
FROM agent_player p JOIN account c ON c.id = p.account_id
WHERE p.account_id = $1 ORDER BY p.since DESC LIMIT 1

-- name: assign
-- From a day on; what was to begin on that day does not.
INSERT INTO agent_player (account_id, since, agent_id, assigned_at, version)
VALUES ($1, $2, $3, $4, 1 + coalesce((SELECT max(version) FROM agent_player WHERE account_id = $1), 0))
ON CONFLICT (account_id, since) DO UPDATE SET
    agent_id = EXCLUDED.agent_id, assigned_at = EXCLUDED.assigned_at, version = EXCLUDED.version
RETURNING version

-- name: players
-- A page of an agent's own players today, newest accounts first.
SELECT p.account_id, p.since, c.external_id
FROM agent_player p JOIN account c ON c.id = p.account_id
WHERE p.agent_id = $1 AND p.since <= $4 AND ($2::uuid IS NULL OR p.account_id < $2)
  AND NOT EXISTS (SELECT FROM agent_player n
                  WHERE n.account_id = p.account_id AND n.since > p.since AND n.since <= $4)
ORDER BY p.account_id DESC LIMIT $3
