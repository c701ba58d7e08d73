-- Which bars there are and which of them have been analysed, kept by triggers so that every writer is seen.
--
-- Everything here relies on READ COMMITTED: a statement of a trigger function that had to wait for a row's lock sees
-- what the transaction it waited for has committed. Locks are taken in one order: bars, bar_series, bar_ledger,
-- analysis_coverage, each by ascending key.

-- One row for each series that was ever stored or analysed. A writer of bars holds it FOR KEY SHARE, an analysis that
-- is about to commit holds it FOR UPDATE: they exclude each other even where the year written is new to the ledger,
-- which a lock on ledger rows could not do. Rows are never removed.
CREATE TABLE bar_series (
    symbol TEXT NOT NULL,
    timeframe TEXT NOT NULL,
    PRIMARY KEY (symbol, timeframe)
);

CREATE SEQUENCE bar_revision AS BIGINT;

-- Rows are never removed, and a row's revision only rises, so the sum over any set of rows rises with every change.
CREATE TABLE bar_ledger (
    symbol TEXT NOT NULL,
    timeframe TEXT NOT NULL,
    year SMALLINT NOT NULL,
    n_bars INTEGER NOT NULL,
    first_time TIMESTAMPTZ,
    last_time TIMESTAMPTZ,
    revision BIGINT NOT NULL,
    PRIMARY KEY (symbol, timeframe, year)
);

CREATE TABLE analysis_coverage (
    symbol TEXT NOT NULL,
    timeframe TEXT NOT NULL,
    year SMALLINT NOT NULL,
    definition_digest TEXT NOT NULL,
    anchor TIMESTAMPTZ,
    covered_through TIMESTAMPTZ,
    n_bars INTEGER NOT NULL,
    stale_from TIMESTAMPTZ,
    analysed_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (symbol, timeframe, year)
);

-- what one statement changed in one (symbol, year): counts, and the first and last changed time
CREATE TYPE bar_change AS (
    symbol TEXT, year SMALLINT, n_added INTEGER, n_removed INTEGER, first_time TIMESTAMPTZ, last_time TIMESTAMPTZ
);

-- Trigger arguments: the timeframe, the key column, and the expressions of a key's year and of its instant.
-- The tables differ in the key column's name and type only, hence the dynamic statements. Runs with its owner's rights
-- so that a program that may write bars needs no right to the ledger.
CREATE FUNCTION note_changed_bars() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $function$
DECLARE
    bar_timeframe CONSTANT TEXT := TG_ARGV[0];
    key_column CONSTANT TEXT := TG_ARGV[1];
    year_of_key CONSTANT TEXT := TG_ARGV[2];
    time_of_key CONSTANT TEXT := TG_ARGV[3];
    -- weekly and monthly analysis reads daily bars, rolled up after adjustment for splits
    analysed_timeframes CONSTANT TEXT[] := CASE bar_timeframe
        WHEN 'daily' THEN ARRAY['daily', 'weekly', 'monthly'] ELSE ARRAY[bar_timeframe] END;
    changed_rows TEXT;
    changes public.bar_change[];
    changed_symbols TEXT[];
BEGIN
    IF TG_OP = 'INSERT' THEN
        changed_rows := format('SELECT symbol, %I AS key, 1 AS added, 0 AS removed FROM new_bars', key_column);
    ELSIF TG_OP = 'DELETE' THEN
        changed_rows := format('SELECT symbol, %I AS key, 0 AS added, 1 AS removed FROM old_bars', key_column);
    ELSE
        -- joined by key, since an UPDATE may have changed keys; a row rewritten with the same values did not change
        changed_rows := format(
            'SELECT symbol, %1$I AS key, (o.was IS NULL)::int AS added, (n.is_now IS NULL)::int AS removed'
            ' FROM (SELECT *, true AS is_now FROM new_bars) n'
            ' FULL JOIN (SELECT *, true AS was FROM old_bars) o USING (symbol, %1$I)'
            ' WHERE (n.open, n.high, n.low, n.close, n.volume)'
            ' IS DISTINCT FROM (o.open, o.high, o.low, o.close, o.volume)', key_column);
    END IF;
    EXECUTE format(
        'SELECT array_agg(ROW(symbol, year, n_added, n_removed, %2$s, %3$s)::public.bar_change ORDER BY symbol, year)'
        ' FROM (SELECT symbol, (%1$s)::smallint AS year, sum(added)::int AS n_added, sum(removed)::int AS n_removed,'
        ' min(key) AS first_key, max(key) AS last_key FROM (%4$s) c GROUP BY 1, 2) g',
        year_of_key, replace(time_of_key, 'key', 'first_key'), replace(time_of_key, 'key', 'last_key'), changed_rows
    ) INTO changes;
    IF changes IS NULL THEN
        RETURN NULL;
    END IF;

    INSERT INTO bar_series (symbol, timeframe)
    SELECT DISTINCT c.symbol, bar_timeframe FROM unnest(changes) c ORDER BY 1
    ON CONFLICT DO NOTHING;
    changed_symbols := ARRAY(SELECT DISTINCT c.symbol FROM unnest(changes) c);
    PERFORM 1 FROM bar_series s
    WHERE s.symbol = ANY (changed_symbols) AND s.timeframe = bar_timeframe
    ORDER BY s.symbol FOR KEY SHARE;

    -- the revision is drawn again on conflict: drawn before the wait for the row's lock it could fall
    INSERT INTO bar_ledger AS ledger (symbol, timeframe, year, n_bars, first_time, last_time, revision)
    SELECT c.symbol, bar_timeframe, c.year, c.n_added - c.n_removed, c.first_time, c.last_time, nextval('bar_revision')
    FROM unnest(changes) c ORDER BY c.symbol, c.year
    ON CONFLICT (symbol, timeframe, year) DO UPDATE SET
        n_bars = ledger.n_bars + excluded.n_bars,
        first_time = least(ledger.first_time, excluded.first_time),
        last_time = greatest(ledger.last_time, excluded.last_time),
        revision = nextval('bar_revision');

    -- a statement of its own, so that it sees what was committed while the one before waited
    EXECUTE format(
        'UPDATE bar_ledger ledger SET first_time = left_bars.first_time, last_time = left_bars.last_time'
        ' FROM unnest($1) c CROSS JOIN LATERAL ('
        '   SELECT min(%1$s) AS first_time, max(%1$s) AS last_time FROM %2$I.%3$I bar'
        '   WHERE bar.symbol = c.symbol AND bar.%4$I >= %5$s AND bar.%4$I < %6$s) left_bars'
        ' WHERE c.n_removed > 0 AND ledger.symbol = c.symbol AND ledger.timeframe = $2 AND ledger.year = c.year',
        replace(time_of_key, 'key', format('bar.%I', key_column)), TG_TABLE_SCHEMA, TG_TABLE_NAME, key_column,
        TG_ARGV[4], replace(TG_ARGV[4], 'c.year', 'c.year + 1')
    ) USING changes, bar_timeframe;

    PERFORM 1 FROM analysis_coverage v
    WHERE v.symbol = ANY (changed_symbols) AND v.timeframe = ANY (analysed_timeframes)
    ORDER BY v.symbol, v.timeframe, v.year FOR UPDATE;
    UPDATE analysis_coverage v SET stale_from = least(v.stale_from, affected.first_time)
    FROM (
        SELECT w.symbol, w.timeframe, w.year, min(c.first_time) AS first_time
        FROM unnest(changes) c JOIN analysis_coverage w ON w.symbol = c.symbol AND c.year <= w.year
        WHERE w.timeframe = ANY (analysed_timeframes)
            -- a coarse bar dated after its anchor may contain a daily bar from before it
            AND (w.anchor IS NULL OR w.timeframe <> bar_timeframe OR w.anchor <= c.last_time)
        GROUP BY w.symbol, w.timeframe, w.year
    ) affected
    WHERE v.symbol = affected.symbol AND v.timeframe = affected.timeframe AND v.year = affected.year;
    RETURN NULL;
END $function$;

CREATE FUNCTION note_truncated_bars() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $function$
DECLARE
    bar_timeframe CONSTANT TEXT := TG_ARGV[0];
BEGIN
    PERFORM 1 FROM bar_series s WHERE s.timeframe = bar_timeframe ORDER BY s.symbol FOR KEY SHARE;
    UPDATE bar_ledger SET n_bars = 0, first_time = NULL, last_time = NULL, revision = nextval('bar_revision')
    WHERE timeframe = bar_timeframe;
    UPDATE analysis_coverage SET stale_from = '-infinity'
    WHERE timeframe = bar_timeframe OR (bar_timeframe = 'daily' AND timeframe IN ('weekly', 'monthly'));
    RETURN NULL;
END $function$;

-- A split changes every price before it: all of the symbol's analysis, and all that was derived from its bars.
CREATE FUNCTION note_changed_splits() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $function$
DECLARE
    changed_symbols TEXT[];
BEGIN
    IF TG_OP = 'INSERT' THEN
        changed_symbols := ARRAY(SELECT DISTINCT symbol FROM new_splits);
    ELSIF TG_OP = 'DELETE' THEN
        changed_symbols := ARRAY(SELECT DISTINCT symbol FROM old_splits);
    ELSE
        changed_symbols := ARRAY(
            SELECT DISTINCT symbol FROM new_splits n FULL JOIN old_splits o USING (symbol, ex_date)
            WHERE n.ratio IS DISTINCT FROM o.ratio);
    END IF;
    INSERT INTO bar_series (symbol, timeframe)
    SELECT symbol, timeframe FROM unnest(changed_symbols) symbol
    CROSS JOIN unnest(ARRAY['1min', 'hourly', 'daily', 'weekly', 'monthly']) timeframe ORDER BY 1, 2
    ON CONFLICT DO NOTHING;
    PERFORM 1 FROM bar_series s WHERE s.symbol = ANY (changed_symbols)
    ORDER BY s.symbol, s.timeframe FOR KEY SHARE;
    PERFORM 1 FROM bar_ledger l WHERE l.symbol = ANY (changed_symbols)
    ORDER BY l.symbol, l.timeframe, l.year FOR UPDATE;
    UPDATE bar_ledger SET revision = nextval('bar_revision') WHERE symbol = ANY (changed_symbols);
    PERFORM 1 FROM analysis_coverage v WHERE v.symbol = ANY (changed_symbols)
    ORDER BY v.symbol, v.timeframe, v.year FOR UPDATE;
    UPDATE analysis_coverage SET stale_from = '-infinity' WHERE symbol = ANY (changed_symbols);
    RETURN NULL;
END $function$;

CREATE FUNCTION note_truncated_splits() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $function$
BEGIN
    PERFORM 1 FROM bar_series s ORDER BY s.symbol, s.timeframe FOR KEY SHARE;
    UPDATE bar_ledger SET revision = nextval('bar_revision');
    UPDATE analysis_coverage SET stale_from = '-infinity';
    RETURN NULL;
END $function$;

DO $block$
DECLARE
    bar_table RECORD;
    arguments TEXT;
BEGIN
    FOR bar_table IN SELECT * FROM (VALUES
        ('1min', 'timestamp', true), ('hourly', 'timestamp', true), ('daily', 'date', false),
        ('weekly', 'week_ending', false), ('monthly', 'month_ending', false)
    ) AS t (timeframe, key_column, is_intraday) LOOP
        -- an intraday bar belongs to its year on the exchange's clock
        arguments := CASE WHEN bar_table.is_intraday THEN format('%L, %L, %L, %L, %L',
            bar_table.timeframe, bar_table.key_column, 'extract(year FROM key AT TIME ZONE ''America/New_York'')', 'key',
            'make_timestamptz(c.year, 1, 1, 0, 0, 0, ''America/New_York'')')
        ELSE format('%L, %L, %L, %L, %L',
            bar_table.timeframe, bar_table.key_column, 'extract(year FROM key)',
            '(key::timestamp AT TIME ZONE ''UTC'')', 'make_date(c.year, 1, 1)') END;
        EXECUTE format('CREATE TRIGGER note_inserted AFTER INSERT ON %I REFERENCING NEW TABLE AS new_bars'
            ' FOR EACH STATEMENT EXECUTE FUNCTION note_changed_bars(%s)', 'ohlcv_' || bar_table.timeframe, arguments);
        EXECUTE format('CREATE TRIGGER note_updated AFTER UPDATE ON %I REFERENCING OLD TABLE AS old_bars'
            ' NEW TABLE AS new_bars FOR EACH STATEMENT EXECUTE FUNCTION note_changed_bars(%s)',
            'ohlcv_' || bar_table.timeframe, arguments);
        EXECUTE format('CREATE TRIGGER note_deleted AFTER DELETE ON %I REFERENCING OLD TABLE AS old_bars'
            ' FOR EACH STATEMENT EXECUTE FUNCTION note_changed_bars(%s)', 'ohlcv_' || bar_table.timeframe, arguments);
        EXECUTE format('CREATE TRIGGER note_truncated AFTER TRUNCATE ON %I'
            ' FOR EACH STATEMENT EXECUTE FUNCTION note_truncated_bars(%L)',
            'ohlcv_' || bar_table.timeframe, bar_table.timeframe);
    END LOOP;
END $block$;

CREATE TRIGGER note_inserted AFTER INSERT ON splits REFERENCING NEW TABLE AS new_splits
    FOR EACH STATEMENT EXECUTE FUNCTION note_changed_splits();
CREATE TRIGGER note_updated AFTER UPDATE ON splits REFERENCING OLD TABLE AS old_splits NEW TABLE AS new_splits
    FOR EACH STATEMENT EXECUTE FUNCTION note_changed_splits();
CREATE TRIGGER note_deleted AFTER DELETE ON splits REFERENCING OLD TABLE AS old_splits
    FOR EACH STATEMENT EXECUTE FUNCTION note_changed_splits();
CREATE TRIGGER note_truncated AFTER TRUNCATE ON splits
    FOR EACH STATEMENT EXECUTE FUNCTION note_truncated_splits();
