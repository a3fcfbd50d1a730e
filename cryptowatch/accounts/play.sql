-- name: standings
-- Of accounts, those that are not there or that something may keep from playing; which of them have limits.
SELECT asked.id, a.status, a.excluded_until, a.cooling_off_until, a.play_limits::text, a.next_play_limits::text,
       a.next_play_limits_at, a.play_limits::text <> '[]' OR a.next_play_limits IS NOT NULL AS limited
FROM unnest($1::uuid[]) AS asked (id) LEFT JOIN account a ON a.id = asked.id
WHERE a.id IS NULL OR a.status <> 'active' OR a.excluded_until IS NOT NULL OR a.cooling_off_until IS NOT NULL
   OR a.play_limits::text <> '[]' OR a.next_play_limits IS NOT NULL

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

-- name: post
-- Transfers with what they add to the day and to rounds; the function in 0020-play.sql does it all. What comes and
-- goes as text is quicker so.
SELECT statuses, array_to_string(totals, ' ') AS totals, array_to_string(unfinalized, ' ') AS unfinalized,
       array_to_string(held, ' ') AS held, made_at
FROM play_post($1::text::text[], $2::text::text[], $3, $4::text::text[], $5::text::bigint[], $6::text::numeric[],
               $7::text::text[], $8::text::text[], $9::text::text[], $10, $11)

-- name: round
-- A round, oldest first.
SELECT account_id, product, asset, kind, amount, created_at FROM round_entry WHERE round = $1 ORDER BY id LIMIT $2
