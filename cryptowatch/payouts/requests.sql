-- name: insert_withdrawals
-- Requests that were decided, in the state that the decision gave them: the second of their lives.
INSERT INTO withdrawal (id, account_id, chain, asset, amount, fee, address, destination, priority, memo, state, reason,
    requested_by, decision, approvals_needed, review, recipient, version, created_at, updated_at, queued_at)
SELECT id, account_id, chain, asset, amount, fee, address, destination, priority, memo, state, reason,
    requested_by, decision, approvals_needed, (state = 'in_review')::integer, recipient, 2, $17::timestamptz, $17::timestamptz,
    CASE state WHEN 'queued' THEN $17::timestamptz END
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::numeric[], $6::numeric[], $7::text[], $8::bytea[],
            $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::json[], $15::smallint[], $16::uuid[])
     AS decided (id, account_id, chain, asset, amount, fee, address, destination, priority, memo, state, reason,
                 requested_by, decision, approvals_needed, recipient)

-- name: insert_travel_rules
-- Who sends and who receives, where the requests say so.
INSERT INTO travel_rule (withdrawal_id, data, created_at)
SELECT withdrawal_id, data, $3 FROM unnest($1::uuid[], $2::json[]) AS new (withdrawal_id, data)
