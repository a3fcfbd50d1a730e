-- The withdrawal policy: limits, allowed addresses, decisions, approvals, and withdrawals paid inside the ledger.
SET LOCAL lock_timeout = '10s';

-- An account's own limits by asset (instead of the settings' account_limits), and whether it pays only to addresses that
-- it allowed.
ALTER TABLE account ADD COLUMN limits json NOT NULL DEFAULT '{}';
ALTER TABLE account ADD COLUMN allow_list boolean NOT NULL DEFAULT false;

-- Where an account allows its money to go; each can be paid from `usable_at` on.
CREATE TABLE allowed_address (
    id          uuid PRIMARY KEY,
    account_id  uuid NOT NULL REFERENCES account,
    chain       text NOT NULL,
    destination bytea NOT NULL,
    address     text NOT NULL,
    label       text,
    created_at  timestamptz NOT NULL,
    usable_at   timestamptz NOT NULL,
    UNIQUE (account_id, chain, destination)
);

-- What each rule found, and how many people must approve.
ALTER TABLE withdrawal ADD COLUMN decision json NOT NULL DEFAULT '[]';
ALTER TABLE withdrawal ADD COLUMN approvals_needed smallint NOT NULL DEFAULT 0;
-- Counts the times that it came into review, and who approved since the last one.
ALTER TABLE withdrawal ADD COLUMN review smallint NOT NULL DEFAULT 0;
ALTER TABLE withdrawal ADD COLUMN approved_by text[] NOT NULL DEFAULT '{}';
-- The player to whom the address belongs: paid in the ledger, by no transaction. References account, as address does.
ALTER TABLE withdrawal ADD COLUMN recipient uuid;

-- The two below say the same, but for what is paid in the ledger.
-- squawk-ignore ban-drop-constraint
ALTER TABLE withdrawal DROP CONSTRAINT withdrawal_check;
-- squawk-ignore ban-drop-constraint
ALTER TABLE withdrawal DROP CONSTRAINT withdrawal_check1;
ALTER TABLE withdrawal ADD CONSTRAINT withdrawal_on_its_way CHECK (
    state NOT IN ('sending', 'confirmed') OR (lineage_id IS NOT NULL AND recipient IS NULL)) NOT VALID;
ALTER TABLE withdrawal ADD CONSTRAINT withdrawal_paid CHECK (
    CASE state WHEN 'confirmed' THEN tx_hash IS NOT NULL
               WHEN 'finalized' THEN (lineage_id IS NOT NULL AND tx_hash IS NOT NULL) OR recipient IS NOT NULL
               WHEN 'queued' THEN recipient IS NULL
               ELSE true END) NOT VALID;

-- What limits look at: an account's, and everybody's, of one asset since some time.
CREATE INDEX withdrawal_of_account_since ON withdrawal (account_id, asset, created_at);
CREATE INDEX withdrawal_since ON withdrawal (asset, created_at);

-- One row for each key that approved in each review; a key counts once (P2).
CREATE TABLE withdrawal_approval (
    withdrawal_id uuid NOT NULL REFERENCES withdrawal,
    review        smallint NOT NULL,
    approved_by   text NOT NULL,
    reason        text,
    approved_at   timestamptz NOT NULL,
    PRIMARY KEY (withdrawal_id, review, approved_by)
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON withdrawal_approval
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE withdrawal_approval ENABLE ALWAYS TRIGGER append_only;

-- Whatever brings a withdrawal into review, earlier approvals were for something else.
CREATE FUNCTION begin_review() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.review := OLD.review + 1;
    NEW.approved_by := '{}';
    RETURN NEW;
END $$;
CREATE TRIGGER begin_review BEFORE UPDATE ON withdrawal FOR EACH ROW
    WHEN (NEW.state = 'in_review' AND OLD.state <> 'in_review') EXECUTE FUNCTION begin_review();
