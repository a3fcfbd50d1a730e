-- Positions are given by indexes alone: what 0026 says of a plan made for empty tables was true of this one as well. Each
-- event's account was looked up by reading all events, so that on a new database the sequencer took a whole core, and
-- seconds for what takes milliseconds, until the tables were analyzed.
SET LOCAL lock_timeout = '10s';

ALTER FUNCTION sequence_events(bigint) SET enable_seqscan = off;
