-- name: update_deposits
-- Compare-and-set on each row's version. What a block holds has no conflict any more.
UPDATE deposit d SET state = u.state, block_height = u.block_height, block_hash = u.block_hash,
    conflict = CASE WHEN u.block_height IS NULL THEN d.conflict END,
    inclusion = u.inclusion, due_height = u.due_height, quarantine = u.quarantine,
    version = u.version, updated_at = $1
FROM unnest($2::uuid[], $3::integer[], $4::text[], $5::bigint[], $6::bytea[], $7::integer[], $8::bigint[],
            $9::text[], $10::integer[])
    AS u (id, old_version, state, block_height, block_hash, inclusion, due_height, quarantine, version)
WHERE d.id = u.id AND d.version = u.old_version
