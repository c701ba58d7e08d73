-- Bars as traded, one table a timeframe, and the facts about them.
--
-- The checks guard against writers that do not know the rules of market/bar.py. Each bound is written so that NaN,
-- which PostgreSQL sorts above infinity, fails it: high < infinity bounds open and close too, and low <= them.

CREATE TABLE ohlcv_1min (
    symbol TEXT NOT NULL,
    "timestamp" TIMESTAMPTZ NOT NULL,
    open DOUBLE PRECISION NOT NULL,
    high DOUBLE PRECISION NOT NULL,
    low DOUBLE PRECISION NOT NULL,
    close DOUBLE PRECISION NOT NULL,
    volume BIGINT NOT NULL,
    source TEXT NOT NULL DEFAULT 'external',
    PRIMARY KEY (symbol, "timestamp"),
    CONSTRAINT ohlcv_1min_high CHECK (high >= greatest(open, close) AND high < 'Infinity'),
    CONSTRAINT ohlcv_1min_low CHECK (low <= least(open, close) AND low > 0),
    CONSTRAINT ohlcv_1min_volume CHECK (volume >= 0)
);

CREATE TABLE ohlcv_hourly (
    symbol TEXT NOT NULL,
    "timestamp" TIMESTAMPTZ NOT NULL,
    open DOUBLE PRECISION NOT NULL,
    high DOUBLE PRECISION NOT NULL,
    low DOUBLE PRECISION NOT NULL,
    close DOUBLE PRECISION NOT NULL,
    volume BIGINT NOT NULL,
    source TEXT NOT NULL DEFAULT 'external',
    PRIMARY KEY (symbol, "timestamp"),
    CONSTRAINT ohlcv_hourly_high CHECK (high >= greatest(open, close) AND high < 'Infinity'),
    CONSTRAINT ohlcv_hourly_low CHECK (low <= least(open, close) AND low > 0),
    CONSTRAINT ohlcv_hourly_volume CHECK (volume >= 0)
);

CREATE TABLE ohlcv_daily (
    symbol TEXT NOT NULL,
    date DATE NOT NULL,
    open DOUBLE PRECISION NOT NULL,
    high DOUBLE PRECISION NOT NULL,
    low DOUBLE PRECISION NOT NULL,
    close DOUBLE PRECISION NOT NULL,
    volume BIGINT NOT NULL,
    source TEXT NOT NULL DEFAULT 'external',
    PRIMARY KEY (symbol, date),
    CONSTRAINT ohlcv_daily_high CHECK (high >= greatest(open, close) AND high < 'Infinity'),
    CONSTRAINT ohlcv_daily_low CHECK (low <= least(open, close) AND low > 0),
    CONSTRAINT ohlcv_daily_volume CHECK (volume >= 0)
);

CREATE TABLE ohlcv_weekly (
    symbol TEXT NOT NULL,
    week_ending DATE NOT NULL,
    open DOUBLE PRECISION NOT NULL,
    high DOUBLE PRECISION NOT NULL,
    low DOUBLE PRECISION NOT NULL,
    close DOUBLE PRECISION NOT NULL,
    volume BIGINT NOT NULL,
    source TEXT NOT NULL DEFAULT 'external',
    PRIMARY KEY (symbol, week_ending),
    CONSTRAINT ohlcv_weekly_high CHECK (high >= greatest(open, close) AND high < 'Infinity'),
    CONSTRAINT ohlcv_weekly_low CHECK (low <= least(open, close) AND low > 0),
    CONSTRAINT ohlcv_weekly_volume CHECK (volume >= 0)
);

CREATE TABLE ohlcv_monthly (
    symbol TEXT NOT NULL,
    month_ending DATE NOT NULL,
    open DOUBLE PRECISION NOT NULL,
    high DOUBLE PRECISION NOT NULL,
    low DOUBLE PRECISION NOT NULL,
    close DOUBLE PRECISION NOT NULL,
    volume BIGINT NOT NULL,
    source TEXT NOT NULL DEFAULT 'external',
    PRIMARY KEY (symbol, month_ending),
    CONSTRAINT ohlcv_monthly_high CHECK (high >= greatest(open, close) AND high < 'Infinity'),
    CONSTRAINT ohlcv_monthly_low CHECK (low <= least(open, close) AND low > 0),
    CONSTRAINT ohlcv_monthly_volume CHECK (volume >= 0)
);

CREATE TABLE symbols (
    symbol TEXT PRIMARY KEY,
    name TEXT,
    -- insertion order: partitions are chunked by it, so it never changes
    position BIGINT GENERATED ALWAYS AS IDENTITY UNIQUE,
    active BOOLEAN NOT NULL DEFAULT true,
    added_at TIMESTAMPTZ NOT NULL DEFAULT now()
);

-- new shares per old: 2.0 for a 2:1 split; prices before ex_date are divided by it when they are read for analysis
CREATE TABLE splits (
    symbol TEXT NOT NULL,
    ex_date DATE NOT NULL,
    ratio DOUBLE PRECISION NOT NULL,
    source TEXT NOT NULL DEFAULT 'external',
    PRIMARY KEY (symbol, ex_date),
    CONSTRAINT splits_ratio CHECK (ratio > 0 AND ratio < 'Infinity')
);

-- How the bars of a partition came to be: imported from a provider, or derived (source 'derived:daily') from an input
-- whose revision at that moment is kept, so that a later change of the input shows.
CREATE TABLE bar_provenance (
    symbol TEXT NOT NULL,
    timeframe TEXT NOT NULL,
    year SMALLINT NOT NULL,
    source TEXT NOT NULL,
    outcome TEXT NOT NULL,
    n_bars INTEGER NOT NULL,
    n_refused INTEGER NOT NULL DEFAULT 0,
    input_revision BIGINT,
    unfinished_until DATE,
    requested_from DATE,
    requested_through DATE,
    error TEXT,
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (symbol, timeframe, year),
    CONSTRAINT bar_provenance_outcome CHECK (outcome IN ('complete', 'partial', 'empty', 'failed'))
);

-- Bars that broke a rule. The digest makes the same refused bar, seen again, one row.
CREATE TABLE quarantined_bars (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    received_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    source TEXT NOT NULL,
    symbol TEXT NOT NULL,
    timeframe TEXT NOT NULL,
    bar_time TEXT NOT NULL,
    reason TEXT NOT NULL,
    raw JSONB NOT NULL,
    digest TEXT NOT NULL UNIQUE GENERATED ALWAYS AS (
        md5(source || chr(31) || symbol || chr(31) || timeframe || chr(31) || bar_time || chr(31) || reason || chr(31) || raw::text)
    ) STORED
);
CREATE INDEX quarantined_bars_symbol ON quarantined_bars (symbol, timeframe);
