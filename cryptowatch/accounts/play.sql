-- name: standings
-- Whether accounts may bet, and which of them have limits.
SELECT id, status, excluded_until, cooling_off_until, play_limits::text, next_play_limits::text, next_play_limits_at,
       play_limits::text <> '[]' OR next_play_limits IS NOT NULL AS limited
FROM account WHERE id = ANY ($1)

-- name: hold_standings
-- The same of those with limits, one after the other.
SELECT id, status, excluded_until, cooling_off_until, play_limits::text, next_play_limits::text, next_play_limits_at
FROM account WHERE id = ANY ($1) ORDER BY id FOR NO KEY UPDATE

-- name: played
-- What accounts played since a day of each.
SELECT d.account_id, d.day, d.asset, sum(d.bet) AS bet, sum(d.win) AS win, sum(d.refund) AS refund
FROM unnest($1::uuid[], $2::date[]) AS asked (account_id, since)
JOIN play_day d ON d.account_id = asked.account_id AND d.day >= asked.since
GROUP BY d.account_id, d.day, d.asset

-- name: times
-- When postings were made.
SELECT key, created_at FROM posting WHERE key = ANY ($1)

-- name: add_to_day
-- What was just played. In one order, after the balances' rows: no two batches wait for each other in a ring.
INSERT INTO play_day AS d (day, account_id, asset, product, bet, win, refund, bonus, bets)
SELECT $1, account_id, asset, product,
       coalesce(sum(amount) FILTER (WHERE kind = 'bet'), 0), coalesce(sum(amount) FILTER (WHERE kind = 'win'), 0),
       coalesce(sum(amount) FILTER (WHERE kind = 'refund'), 0), coalesce(sum(amount) FILTER (WHERE kind = 'bonus'), 0),
       count(*) FILTER (WHERE kind = 'bet')
FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[]::numeric[])
     AS new (account_id, asset, product, kind, amount)
GROUP BY account_id, asset, product
ORDER BY account_id, asset, product
ON CONFLICT (account_id, day, asset, product) DO UPDATE SET
    bet = d.bet + EXCLUDED.bet, win = d.win + EXCLUDED.win, refund = d.refund + EXCLUDED.refund,
    bonus = d.bonus + EXCLUDED.bonus, bets = d.bets + EXCLUDED.bets

-- name: add_to_rounds
-- What was moved in rounds, in the order given.
INSERT INTO round_entry (round, product, account_id, asset, kind, amount, key, created_at)
SELECT round, product, account_id, asset, kind, amount, key, $8
FROM unnest($1::text[], $2::text[], $3::uuid[], $4::text[], $5::text[], $6::text[]::numeric[], $7::text[])
     WITH ORDINALITY
     AS new (round, product, account_id, asset, kind, amount, key, place)
ORDER BY place

-- name: round
-- A round, oldest first.
SELECT account_id, product, asset, kind, amount, created_at FROM round_entry WHERE round = $1 ORDER BY id LIMIT $2
