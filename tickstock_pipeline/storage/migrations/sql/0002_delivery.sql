-- What live delivery needs: who works on which shard, what is left to do, and what is left to tell.

-- token rises with every change of hands; a transaction of the live path holds the row FOR SHARE and compares it.
CREATE TABLE shard_leases (
    shard INTEGER PRIMARY KEY,
    worker TEXT,
    token BIGINT NOT NULL DEFAULT 0,
    expires_at TIMESTAMPTZ NOT NULL DEFAULT '-infinity'
);

CREATE TABLE live_workers (
    worker TEXT PRIMARY KEY,
    started_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    expires_at TIMESTAMPTZ NOT NULL
);

-- Messages of one transaction, in order: payloads[i] goes to channels[i]. Published rows are kept for an hour.
CREATE TABLE outbox (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    channels TEXT[] NOT NULL,
    payloads TEXT[] NOT NULL,
    published_at TIMESTAMPTZ,
    CONSTRAINT outbox_messages CHECK (cardinality(channels) = cardinality(payloads))
);
CREATE INDEX outbox_unpublished ON outbox (id) WHERE published_at IS NULL;

-- Live bars that were stored without analysis; whoever makes up for it publishes what they show, and deletes the row.
CREATE TABLE live_backlog (
    symbol TEXT NOT NULL,
    timeframe TEXT NOT NULL,
    bar_time TIMESTAMPTZ NOT NULL,
    stored_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (symbol, timeframe, bar_time)
);

-- Coarser periods with finer bars that the live path has stored and not yet rolled up; period is the coarse bar's key.
CREATE TABLE open_periods (
    symbol TEXT NOT NULL,
    timeframe TEXT NOT NULL,
    period TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (symbol, timeframe, period)
);

-- One row, whose revision rises in every transaction that changes a definition.
CREATE TABLE definition_changes (
    is_only_row BOOLEAN PRIMARY KEY DEFAULT true,
    revision BIGINT NOT NULL DEFAULT 0,
    CONSTRAINT definition_changes_one_row CHECK (is_only_row)
);
INSERT INTO definition_changes DEFAULT VALUES;

CREATE FUNCTION note_changed_definitions() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $function$
BEGIN
    UPDATE definition_changes SET revision = revision + 1;
    RETURN NULL;
END $function$;

CREATE TRIGGER note_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON indicator_definitions
    FOR EACH STATEMENT EXECUTE FUNCTION note_changed_definitions();
CREATE TRIGGER note_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON pattern_definitions
    FOR EACH STATEMENT EXECUTE FUNCTION note_changed_definitions();
