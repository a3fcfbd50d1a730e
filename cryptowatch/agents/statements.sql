-- name: close
-- A period is closed by whoever is first; no row for the others.
INSERT INTO agent_period (begin_on, end_on, closed_at) VALUES ($1, $2, $3)
ON CONFLICT (begin_on) DO NOTHING RETURNING begin_on

-- name: last_closed
-- The end of the last period.
SELECT max(end_on) FROM agent_period

-- name: first_day
-- Since when there are agents.
SELECT min(since) FROM agent_plan

-- name: agents
-- Those that there were before the period's end, each with the plan that held at its beginning, or its first one.
SELECT a.id, a.parent_id, p.document
FROM agent a
CROSS JOIN LATERAL (
    SELECT plan_id FROM agent_plan WHERE agent_id = a.id AND since < $2
    ORDER BY since <= $1 DESC, CASE WHEN since <= $1 THEN since END DESC, since LIMIT 1
) AS held
JOIN commission_plan p ON p.id = held.plan_id

-- name: gather
-- What each agent's own players did in the period, while they were its own and where it may have players.
CREATE TEMPORARY TABLE closing ON COMMIT DROP AS
SELECT o.agent_id, o.account_id, d.asset, d.product,
       sum(d.bet) AS bet, sum(d.win) AS win, sum(d.refund) AS refund, sum(d.bonus) AS bonus
FROM (SELECT account_id, agent_id, since, lead(since) OVER (PARTITION BY account_id ORDER BY since) AS next_since
      FROM agent_player) AS o
JOIN play_day d ON d.account_id = o.account_id AND d.day >= greatest(o.since, $1)
    AND d.day < least(coalesce(o.next_since, $2), $2)
JOIN agent a ON a.id = o.agent_id
JOIN account c ON c.id = o.account_id
WHERE a.jurisdictions = '{}' OR c.jurisdiction = ANY (a.jurisdictions)
GROUP BY o.agent_id, o.account_id, d.asset, d.product

-- name: played
-- The same by agent.
SELECT agent_id, asset, product, sum(bet) AS bet, sum(win) AS win, sum(refund) AS refund, sum(bonus) AS bonus
FROM closing GROUP BY agent_id, asset, product

-- name: turnover
-- The same as one figure.
SELECT agent_id, sum(bet - refund) AS turnover FROM closing WHERE asset = $1 GROUP BY agent_id

-- name: carried
-- What the last statement of each agent left.
SELECT DISTINCT ON (agent_id, asset) agent_id, asset, carry_out FROM agent_statement WHERE begin_on < $1
ORDER BY agent_id, asset, begin_on DESC

-- name: insert
-- The statements of one period and asset, with the decimals of the settings or of an earlier one.
INSERT INTO agent_statement (id, agent_id, begin_on, end_on, asset, state, carry_in, carry_out, earned, granted, amount,
                             plan, held_until, created_at, updated_at, decimals)
SELECT id, agent_id, $3, $4, $5, state, carry_in, carry_out, earned, granted, amount, plan, $13, $14, $14, coalesce(
    $15, (SELECT o.decimals FROM agent_statement o WHERE o.asset = $5 AND o.decimals IS NOT NULL LIMIT 1))
FROM unnest($1::uuid[], $2::uuid[], $6::text[], $7::numeric[], $8::numeric[], $9::numeric[], $10::numeric[],
            $11::numeric[], $12::json[])
     AS new (id, agent_id, state, carry_in, carry_out, earned, granted, amount, plan)

-- name: insert_lines
-- What they are made of.
INSERT INTO agent_statement_line (statement_id, account_id, product, bet, win, refund, bonus)
SELECT s.id, c.account_id, c.product, c.bet, c.win, c.refund, c.bonus
FROM unnest($2::uuid[], $3::uuid[]) AS s (id, agent_id) JOIN closing c ON c.agent_id = s.agent_id AND c.asset = $1
ORDER BY s.id, c.account_id, c.product

-- name: own_play
-- What agents played as their own players, or accounts that share a device, a network or an address with them.
SELECT c.agent_id, sum(c.bet - c.refund) AS own
FROM closing c JOIN agent a ON a.id = c.agent_id
WHERE c.asset = $1 AND (c.account_id = a.account_id OR EXISTS (
    SELECT FROM account_trait t JOIN account_trait o ON o.kind = t.kind AND o.value = t.value
    WHERE t.account_id = a.account_id AND o.account_id = c.account_id))
GROUP BY c.agent_id

-- name: matched
-- Bets in rounds in which several players of one agent bet, and together got back at least nineteen twentieths.
SELECT agent_id, sum(bet) AS matched
FROM (
    SELECT c.agent_id, r.round, sum(r.amount) FILTER (WHERE r.kind = 'bet') AS bet,
           sum(r.amount) FILTER (WHERE r.kind IN ('win', 'refund')) AS back,
           count(DISTINCT r.account_id) FILTER (WHERE r.kind = 'bet') AS players
    FROM round_entry r
    JOIN (SELECT DISTINCT agent_id, account_id FROM closing WHERE asset = $1) AS c ON c.account_id = r.account_id
    WHERE r.asset = $1 AND r.created_at >= $2 AND r.created_at < $3
    GROUP BY c.agent_id, r.round
) AS rounds
WHERE players >= 2 AND back * 20 >= bet * 19 AND back * 20 <= bet * 21
GROUP BY agent_id

-- name: earlier
-- The turnover of agents' own players in the periods before.
SELECT agent_id, turnover FROM (
    SELECT s.agent_id, s.begin_on, row_number() OVER (PARTITION BY s.agent_id ORDER BY s.begin_on DESC) AS place,
           coalesce((SELECT sum(l.bet - l.refund) FROM agent_statement_line l WHERE l.statement_id = s.id), 0) AS turnover
    FROM agent_statement s WHERE s.asset = $1 AND s.begin_on < $2
) AS before WHERE place <= $3

-- name: flag
-- What a person should look at.
INSERT INTO agent_flag (statement_id, anomaly, compared)
SELECT statement_id, anomaly, compared FROM unnest($1::uuid[], $2::text[], $3::json[]) AS new (statement_id, anomaly, compared)

-- name: downline
-- An agent and those under it, each with the plan that held at the beginning, or its first one.
SELECT a.id, a.parent_id, p.document
FROM agent a
CROSS JOIN LATERAL (
    SELECT plan_id FROM agent_plan WHERE agent_id = a.id AND since < $3
    ORDER BY since <= $2 DESC, CASE WHEN since <= $2 THEN since END DESC, since LIMIT 1
) AS held
JOIN commission_plan p ON p.id = held.plan_id
WHERE a.id = $1 OR a.path @> ARRAY[$1]

-- name: plans_above
-- The plans of those above an agent.
SELECT p.document
FROM agent own
JOIN agent a ON a.id = ANY (own.path)
CROSS JOIN LATERAL (
    SELECT plan_id FROM agent_plan WHERE agent_id = a.id AND since < $3
    ORDER BY since <= $2 DESC, CASE WHEN since <= $2 THEN since END DESC, since LIMIT 1
) AS held
JOIN commission_plan p ON p.id = held.plan_id
WHERE own.id = $1

-- name: played_below
-- What the own players of these agents did, while they were theirs and where they may have players.
SELECT o.agent_id, d.asset, d.product,
       sum(d.bet) AS bet, sum(d.win) AS win, sum(d.refund) AS refund, sum(d.bonus) AS bonus
FROM agent_player o
JOIN agent a ON a.id = o.agent_id
JOIN account c ON c.id = o.account_id
LEFT JOIN LATERAL (SELECT since FROM agent_player n WHERE n.account_id = o.account_id AND n.since > o.since
                   ORDER BY since LIMIT 1) AS following ON true
JOIN play_day d ON d.account_id = o.account_id AND d.day >= greatest(o.since, $1)
    AND d.day < least(coalesce(following.since, $2), $2)
WHERE o.agent_id = ANY ($3) AND (a.jurisdictions = '{}' OR c.jurisdiction = ANY (a.jurisdictions))
GROUP BY o.agent_id, d.asset, d.product
