-- Tells who listens which minutes another program has inserted or changed, rows and all: [[symbol, microseconds since
-- 1970, open, high, low, close, volume, source], …], as many to a notice as fit.

-- A statement of more rows is an import, not news.
CREATE FUNCTION tell_inserted_bars() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $function$
DECLARE
    most_rows CONSTANT INTEGER := 5000;
    -- so that the longest rows stay below the 8,000 bytes of a notice
    rows_to_a_notice CONSTANT INTEGER := 25;
    application CONSTANT TEXT := current_setting('application_name');
    changed TEXT;
BEGIN
    -- what our own processes write they know already
    IF application = 'tickstock' OR application LIKE 'tickstock-%' THEN
        RETURN NULL;
    END IF;
    IF (SELECT count(*) FROM (SELECT 1 FROM new_bars LIMIT most_rows + 1) counted) > most_rows THEN
        RETURN NULL;
    END IF;
    changed := 'SELECT * FROM new_bars';
    IF TG_OP = 'UPDATE' THEN
        changed := 'SELECT n.* FROM new_bars n LEFT JOIN old_bars o USING (symbol, "timestamp")'
            ' WHERE (n.open, n.high, n.low, n.close, n.volume) IS DISTINCT FROM (o.open, o.high, o.low, o.close, o.volume)';
    END IF;
    EXECUTE format(
        'SELECT pg_notify(''tickstock_inserted_bars'', json_agg(json_build_array(symbol,'
        ' (extract(epoch FROM "timestamp") * 1000000)::bigint, open, high, low, close, volume, left(source, 20))'
        ' ORDER BY number)::text)'
        ' FROM (SELECT *, row_number() OVER (ORDER BY "timestamp", symbol) AS number FROM (%s) c'
        ' WHERE isfinite("timestamp") AND symbol ~ ''^[A-Z0-9./^=-]{1,20}$'') numbered'
        ' GROUP BY (number - 1) / $1 ORDER BY (number - 1) / $1', changed
    ) USING rows_to_a_notice;
    RETURN NULL;
END $function$;

CREATE TRIGGER tell_inserted AFTER INSERT ON ohlcv_1min
    REFERENCING NEW TABLE AS new_bars FOR EACH STATEMENT EXECUTE FUNCTION tell_inserted_bars();
CREATE TRIGGER tell_updated AFTER UPDATE ON ohlcv_1min
    REFERENCING OLD TABLE AS old_bars NEW TABLE AS new_bars FOR EACH STATEMENT EXECUTE FUNCTION tell_inserted_bars();
