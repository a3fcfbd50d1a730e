-- name: known
-- Whether a rule's word about a subject is in a case.
SELECT EXISTS (SELECT FROM case_finding WHERE subject = $1 AND rule = $2)

-- name: open
-- A case, unless one of this account, rule and asset is open.
INSERT INTO compliance_case (id, account_id, rule, asset, subject, action, compared, seen_until, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9) ON CONFLICT (account_id, rule, asset) WHERE state = 'open' DO NOTHING
RETURNING *

-- name: hold_open
-- The open one, nobody else's until the transaction ends.
SELECT id FROM compliance_case WHERE account_id = $1 AND rule = $2 AND asset = $3 AND state = 'open' FOR NO KEY UPDATE

-- name: find
-- What a rule found, with its case.
INSERT INTO case_finding (id, case_id, rule, subject, compared, created_at) VALUES ($1, $2, $3, $4, $5, $6)

-- name: extend
-- A case that is held has one finding more. Where people were only told so far, it does what findings do by now.
UPDATE compliance_case
SET findings = findings + 1, seen_until = greatest(seen_until, $2), updated_at = $4, version = version + 1,
    action = CASE action WHEN 'note' THEN $3 ELSE action END
WHERE id = $1 RETURNING *

-- name: findings
-- A page of what was found, newest first.
SELECT id, subject, compared, created_at FROM case_finding
WHERE case_id = $1 AND ($2::uuid IS NULL OR id < $2) ORDER BY id DESC LIMIT $3

-- name: hold
-- One case, nobody else's until the transaction ends.
SELECT * FROM compliance_case WHERE id = $1 FOR NO KEY UPDATE

-- name: by_id
-- One case.
SELECT * FROM compliance_case WHERE id = $1

-- name: newest
-- A page of cases, newest first.
SELECT * FROM compliance_case
WHERE ($1::uuid IS NULL OR id < $1) AND ($3::text IS NULL OR state = $3) AND ($4::text IS NULL OR rule = $4)
ORDER BY id DESC LIMIT $2

-- name: newest_of_account
-- The same of one account.
SELECT * FROM compliance_case
WHERE account_id = $5 AND ($1::uuid IS NULL OR id < $1) AND ($3::text IS NULL OR state = $3)
  AND ($4::text IS NULL OR rule = $4)
ORDER BY id DESC LIMIT $2

-- name: decide
-- What a person decided.
UPDATE compliance_case SET state = $2, decided_by = $3, reason = $4, decided_at = $5, updated_at = $5,
    version = version + 1
WHERE id = $1 RETURNING *

-- name: assign
-- Who looks at it; nobody where it is null.
UPDATE compliance_case SET assignee = $2, updated_at = $3, version = version + 1 WHERE id = $1 RETURNING *

-- name: note
-- What somebody wrote.
INSERT INTO case_note (id, case_id, author, text, created_at) VALUES ($1, $2, $3, $4, $5)
RETURNING id, author, text, created_at

-- name: touch
-- The case changed by it.
UPDATE compliance_case SET updated_at = $2, version = version + 1 WHERE id = $1 RETURNING *

-- name: notes
-- A page of a case's notes, newest first.
SELECT id, author, text, created_at FROM case_note
WHERE case_id = $1 AND ($2::uuid IS NULL OR id < $2) ORDER BY id DESC LIMIT $3
