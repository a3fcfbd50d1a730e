-- name: travel_rule
-- What one withdrawal carries.
SELECT data FROM travel_rule WHERE withdrawal_id = $1
