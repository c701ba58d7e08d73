-- What the automation needs: which bars are new, what Dagster has been told of them, and which analysis keeps failing.

-- The transaction that last changed the row's bars. Compared with a snapshot it tells exactly what was committed after
-- that snapshot was taken; numbers drawn from a sequence, and clocks, cannot: they are drawn before the commit.
-- No index: an update of the row would no longer stay on its page, and reading the whole ledger takes milliseconds.
ALTER TABLE bar_ledger ADD COLUMN position XID8 NOT NULL DEFAULT pg_current_xact_id();

CREATE FUNCTION note_position() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    NEW.position := pg_current_xact_id();
    RETURN NEW;
END $function$;

CREATE TRIGGER note_position BEFORE UPDATE ON bar_ledger
    FOR EACH ROW WHEN (NEW.revision IS DISTINCT FROM OLD.revision) EXECUTE FUNCTION note_position();

-- The ledger's revision as it was when a run of ours had written the bars (imported_revision), and when Dagster was
-- last told of bars that somebody else wrote, with the session in which that was.
CREATE TABLE reported_bars (
    symbol TEXT NOT NULL,
    timeframe TEXT NOT NULL,
    year SMALLINT NOT NULL,
    imported_revision BIGINT,
    reported_revision BIGINT,
    reported_session DATE,
    PRIMARY KEY (symbol, timeframe, year)
);

-- What was stored before there was this table is no news.
INSERT INTO reported_bars (symbol, timeframe, year, imported_revision)
SELECT symbol, timeframe, year, revision FROM bar_ledger;

-- Partitions whose analysis failed the last time, and why; the row goes when it succeeds.
CREATE TABLE analysis_failures (
    symbol TEXT NOT NULL,
    timeframe TEXT NOT NULL,
    year SMALLINT NOT NULL,
    error TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 1,
    failed_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (symbol, timeframe, year),
    CONSTRAINT analysis_failures_attempts CHECK (attempts >= 1)
);
