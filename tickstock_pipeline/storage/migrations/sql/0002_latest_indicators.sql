-- The latest value of each indicator: one row a series, as wide as its layout, shown as a row an indicator.
--
-- A table with a row for each indicator was rewritten with every bar: 18 rows where one will do.

ALTER TABLE daily_indicators RENAME TO daily_indicators_of_0001;

-- indicators[i] is the definition that outputs[i] belongs to; layouts from before are told by the rows they were
-- shown as, or else each output stands for itself.
ALTER TABLE indicator_layouts ADD COLUMN indicators TEXT[];
UPDATE indicator_layouts layout SET indicators = (
    SELECT array_agg(coalesce(known.indicator_type, given.output) ORDER BY given.at)
    FROM unnest(layout.outputs) WITH ORDINALITY AS given (output, at)
    LEFT JOIN (
        SELECT DISTINCT ON (output) output, indicator_type
        FROM daily_indicators_of_0001, jsonb_object_keys(value_data) output
        WHERE bar_time IS NOT NULL ORDER BY output, bar_time DESC, indicator_type
    ) known ON known.output = given.output
);
UPDATE indicator_layouts SET indicators = '{}' WHERE indicators IS NULL;
ALTER TABLE indicator_layouts
    ALTER COLUMN indicators SET NOT NULL,
    DROP CONSTRAINT indicator_layouts_outputs_key,
    ADD CONSTRAINT indicator_layouts_columns UNIQUE (outputs, indicators),
    ADD CONSTRAINT indicator_layouts_indicators CHECK (cardinality(outputs) = cardinality(indicators));

-- The newest row of bar_indicators of each series. Half of each page is left free: a burst rewrites every row, and the
-- new version stays on the page of the old one, so the index is not touched.
CREATE TABLE latest_indicators (
    symbol TEXT NOT NULL,
    timeframe TEXT NOT NULL,
    bar_time TIMESTAMPTZ NOT NULL,
    layout_id INTEGER NOT NULL,
    "values" DOUBLE PRECISION[] NOT NULL,
    calculated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (symbol, timeframe)
) WITH (fillfactor = 45);

-- What other programs have put into daily_indicators; a value of ours for the same indicator takes its place.
CREATE TABLE other_indicators (
    symbol TEXT NOT NULL,
    indicator_type TEXT NOT NULL,
    value_data JSONB NOT NULL,
    calculation_timestamp TIMESTAMPTZ NOT NULL,
    expiration_date TIMESTAMPTZ,
    timeframe TEXT NOT NULL,
    metadata JSONB,
    PRIMARY KEY (symbol, timeframe, indicator_type)
);

-- The shortest digits that give the same bits again; a whole number keeps its ".0", as JSON of floats has it.
CREATE FUNCTION json_of_float(value DOUBLE PRECISION) RETURNS JSONB LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN to_jsonb(CASE WHEN value = trunc(value) AND abs(value) < 1e16 THEN value::text::numeric + 0.0
    ELSE value::text::numeric END);

CREATE VIEW daily_indicators AS
SELECT latest.symbol, indicator.indicator_type,
    CASE WHEN indicator.first_at = indicator.last_at
        THEN jsonb_build_object(indicator.outputs[1], json_of_float(latest."values"[indicator.first_at]))
        ELSE (
            SELECT jsonb_object_agg(given.output, json_of_float(given.value))
            FROM unnest(indicator.outputs, latest."values"[indicator.first_at : indicator.last_at])
                AS given (output, value)
            WHERE given.value IS NOT NULL
        )
    END AS value_data,
    latest.calculated_at AS calculation_timestamp, cast(NULL AS TIMESTAMPTZ) AS expiration_date, latest.timeframe,
    cast(NULL AS JSONB) AS metadata, latest.bar_time
FROM latest_indicators latest
JOIN (
    SELECT layout.id AS layout_id, given.indicator_type, array_agg(given.output ORDER BY given.at) AS outputs,
        min(given.at)::int AS first_at, max(given.at)::int AS last_at
    FROM indicator_layouts layout
    CROSS JOIN LATERAL unnest(layout.outputs, layout.indicators) WITH ORDINALITY AS given (output, indicator_type, at)
    GROUP BY 1, 2
) indicator ON indicator.layout_id = latest.layout_id
WHERE array_remove(latest."values"[indicator.first_at : indicator.last_at], NULL) <> '{}'
UNION ALL
SELECT symbol, indicator_type, value_data, calculation_timestamp, expiration_date, timeframe, metadata, NULL
FROM other_indicators;

ALTER VIEW daily_indicators ALTER COLUMN timeframe SET DEFAULT 'daily';
ALTER VIEW daily_indicators ALTER COLUMN calculation_timestamp SET DEFAULT now();

-- The consumer DELETEs and INSERTs rows. A row of ours that is deleted loses its values; one that is updated is the
-- other program's from then on; both until the next bar is analysed.
CREATE FUNCTION change_daily_indicators() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $function$
BEGIN
    IF TG_OP <> 'INSERT' AND OLD.bar_time IS NULL THEN
        DELETE FROM other_indicators other
        WHERE other.symbol = OLD.symbol AND other.timeframe = OLD.timeframe
            AND other.indicator_type = OLD.indicator_type;
    ELSIF TG_OP <> 'INSERT' THEN
        UPDATE latest_indicators latest SET "values" = (
            SELECT array_agg(CASE WHEN given.indicator_type <> OLD.indicator_type THEN given.value END
                ORDER BY given.at)
            FROM unnest(layout.indicators, latest."values") WITH ORDINALITY AS given (indicator_type, value, at)
        )
        FROM indicator_layouts layout
        WHERE layout.id = latest.layout_id AND latest.symbol = OLD.symbol AND latest.timeframe = OLD.timeframe;
    END IF;
    IF TG_OP = 'DELETE' THEN
        RETURN OLD;
    END IF;
    PERFORM FROM latest_indicators latest
    WHERE latest.symbol = NEW.symbol AND latest.timeframe = NEW.timeframe FOR UPDATE;
    IF EXISTS (
        SELECT FROM daily_indicators held
        WHERE held.symbol = NEW.symbol AND held.timeframe = NEW.timeframe
            AND held.indicator_type = NEW.indicator_type
    ) THEN
        RAISE unique_violation USING MESSAGE = format('daily_indicators has a row of %s, %s, %s already',
            NEW.symbol, NEW.timeframe, NEW.indicator_type);
    END IF;
    INSERT INTO other_indicators (symbol, indicator_type, value_data, calculation_timestamp, expiration_date,
        timeframe, metadata)
    VALUES (NEW.symbol, NEW.indicator_type, NEW.value_data, NEW.calculation_timestamp, NEW.expiration_date,
        NEW.timeframe, NEW.metadata);
    RETURN NEW;
END $function$;

CREATE TRIGGER change_row INSTEAD OF INSERT OR UPDATE OR DELETE ON daily_indicators
    FOR EACH ROW EXECUTE FUNCTION change_daily_indicators();

-- What is stored already, and who may read it.
INSERT INTO latest_indicators (symbol, timeframe, bar_time, layout_id, "values", calculated_at)
SELECT symbol, timeframe, bar.time, bar.layout_id, bar."values", shown.calculated_at
FROM (
    SELECT symbol, timeframe, max(bar_time) AS "time", max(calculation_timestamp) AS calculated_at
    FROM daily_indicators_of_0001 WHERE bar_time IS NOT NULL GROUP BY 1, 2
) shown JOIN bar_indicators bar USING (symbol, timeframe, "time")
ORDER BY 1, 2;
DELETE FROM daily_indicators shown USING daily_indicators_of_0001 theirs
WHERE theirs.bar_time IS NULL AND shown.symbol = theirs.symbol AND shown.timeframe = theirs.timeframe
    AND shown.indicator_type = theirs.indicator_type;
INSERT INTO other_indicators
SELECT symbol, indicator_type, value_data, calculation_timestamp, expiration_date, timeframe, metadata
FROM daily_indicators_of_0001 WHERE bar_time IS NULL ORDER BY symbol, timeframe, indicator_type;

DO $block$
DECLARE
    given RECORD;
BEGIN
    FOR given IN
        SELECT CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(acl.grantee)) END AS grantee,
            acl.privilege_type, CASE WHEN acl.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END AS option
        FROM pg_class relation CROSS JOIN LATERAL aclexplode(relation.relacl) acl
        WHERE relation.oid = 'daily_indicators_of_0001'::regclass AND acl.grantee <> relation.relowner
            AND acl.privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
    LOOP
        EXECUTE format('GRANT %s ON daily_indicators TO %s%s', given.privilege_type, given.grantee, given.option);
    END LOOP;
END $block$;

DROP TABLE daily_indicators_of_0001;
