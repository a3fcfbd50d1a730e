-- A delivery is written by whoever holds its endpoint's row, and endpoints are never removed: a foreign key would only
-- cost, one look-up for each delivery.
SET LOCAL lock_timeout = '10s';

ALTER TABLE webhook_delivery DROP CONSTRAINT webhook_delivery_endpoint_id_fkey;
