-- name: post_one
-- One posting; the function in 0001-ledger.sql does it all in one round trip.
SELECT status, total, unfinalized, held FROM ledger_post_one($1, $2, $3, $4, $5, $6, $7, $8, $9)

-- name: post_batch
-- A batch of postings; answers in the order given.
SELECT status, total, unfinalized, held FROM ledger_post($1, $2, $3, $4, $5, $6, $7, $8, $9, false, $10)

-- name: post_all
-- A batch of postings, all or none, without answers.
SELECT FROM ledger_post($1, $2, $3, $4, $5, $6, $7, $8, $9, true, $10)

-- name: post_alike
-- The same for one kind, one house account and customers of whom none stands there twice. Arrays as text: quicker.
SELECT FROM ledger_post_alike($1, $2, $3::text::text[], $4::text::bigint[], $5::text::numeric[], $6)

-- name: account_ids
-- The ids of the accounts that exist, NULL for those that do not, in the order asked.
SELECT a.id
FROM unnest($1::text[], $2::uuid[], $3::text[], $4::text[])
     WITH ORDINALITY AS asked (owner_kind, owner_id, role, asset, ordinal)
LEFT JOIN ledger_account a
    ON a.owner_id = asked.owner_id AND a.asset = asked.asset AND a.role = asked.role
   AND a.owner_kind = asked.owner_kind
ORDER BY asked.ordinal

-- name: player_ids
-- The same of many players and one asset: a full block asks for tens of thousands.
SELECT a.id
FROM unnest($2::uuid[]) WITH ORDINALITY AS asked (owner_id, ordinal)
LEFT JOIN ledger_account a
    ON a.owner_id = asked.owner_id AND a.asset = $1 AND a.role = 'main' AND a.owner_kind = 'player'
ORDER BY asked.ordinal

-- name: create_accounts
-- Creates what is missing, each with its balance row; waits for another transaction that creates the same.
WITH created AS (
    INSERT INTO ledger_account (owner_kind, owner_id, role, asset)
    SELECT DISTINCT asked.owner_kind, asked.owner_id, asked.role, asked.asset
    FROM unnest($1::text[], $2::uuid[], $3::text[], $4::text[]) AS asked (owner_kind, owner_id, role, asset)
    ORDER BY asked.owner_id, asked.asset, asked.role, asked.owner_kind
    ON CONFLICT DO NOTHING
    RETURNING id, owner_kind, asset
), houses AS (
    INSERT INTO house_balance (account_id, asset) SELECT id, asset FROM created WHERE owner_kind = 'house'
)
INSERT INTO customer_balance (account_id, asset) SELECT id, asset FROM created WHERE owner_kind <> 'house'

-- name: customer_balances
-- The balances of one owner, all assets and roles.
SELECT a.id, a.role, a.asset, b.total, b.unfinalized, b.held
FROM ledger_account a JOIN customer_balance b ON b.account_id = a.id
WHERE a.owner_id = $1 AND a.owner_kind = $2
ORDER BY a.asset, a.role

-- name: customer_balance
-- The balance of one account.
SELECT b.total, b.unfinalized, b.held FROM customer_balance b WHERE b.account_id = $1

-- name: house_balances
-- Every house account's exact balance now: what is rolled up and what is not yet, in one snapshot.
SELECT a.id, a.role, a.asset, h.rolled_up + coalesce(d.amount, 0) AS balance
FROM ledger_account a
JOIN house_balance h ON h.account_id = a.id
LEFT JOIN (SELECT account_id, sum(amount) AS amount FROM house_delta GROUP BY account_id) d
    ON d.account_id = a.id
ORDER BY a.asset, a.role

-- name: customer_totals
-- What the house owes its customers per asset: positive totals, and what customers owe it, in one snapshot.
SELECT asset,
       coalesce(sum(total) FILTER (WHERE total > 0), 0) AS owed,
       coalesce(sum(-total) FILTER (WHERE total < 0), 0) AS owing,
       sum(unfinalized) AS unfinalized, sum(held) AS held
FROM customer_balance GROUP BY asset ORDER BY asset

-- name: owed_balances
-- What is owed to each customer's account.
SELECT a.owner_kind, a.owner_id, a.role, a.asset, b.total
FROM customer_balance b JOIN ledger_account a ON a.id = b.account_id WHERE b.total > 0

-- name: roll_up
-- Folds waiting deltas into the house accounts' rows.
SELECT ledger_roll_up()
