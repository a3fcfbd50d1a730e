-- Since when an endpoint answers nothing well; how many requests a key may make.
SET LOCAL lock_timeout = '10s';

-- The first failure after the last success: after too long a time the endpoint is disabled.
ALTER TABLE webhook_endpoint ADD COLUMN failing_since timestamptz;

-- Requests a second of this key, on average and at once; NULL: as the settings say.
ALTER TABLE api_key ADD COLUMN rate_per_s integer CHECK (rate_per_s > 0);
ALTER TABLE api_key ADD COLUMN rate_burst integer CHECK (rate_burst > 0);
