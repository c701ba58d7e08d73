-- Which symbols belong to which universe, and what else is known of a symbol.

-- A version of a universe's list is dated; as_of is the date of the newest one. Spellings of one key are one universe.
CREATE TABLE universes (
    key TEXT PRIMARY KEY,
    folded_key TEXT NOT NULL UNIQUE GENERATED ALWAYS AS (replace(key, '_', '')) STORED,
    source TEXT NOT NULL DEFAULT 'external',
    first_as_of DATE NOT NULL,
    as_of DATE NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT universes_key CHECK (key ~ '^[a-z0-9]+(_[a-z0-9]+)*$' AND length(key) <= 64),
    CONSTRAINT universes_as_of CHECK (first_as_of <= as_of)
);

-- One row for each time that a symbol was a member: from joined_on to the day before left_on, or until now. The name is
-- that of the list, since a member need not be registered in symbols; the position is that in the list.
CREATE TABLE universe_members (
    universe TEXT NOT NULL REFERENCES universes (key) ON DELETE CASCADE,
    symbol TEXT NOT NULL,
    joined_on DATE NOT NULL,
    left_on DATE,
    position INTEGER NOT NULL,
    name TEXT,
    PRIMARY KEY (universe, symbol, joined_on),
    CONSTRAINT universe_members_left_on CHECK (left_on > joined_on)
);
CREATE UNIQUE INDEX universe_members_current ON universe_members (universe, symbol) WHERE left_on IS NULL;
CREATE INDEX universe_members_symbol ON universe_members (symbol);

-- in the currency of the listing, for one share as it was on ex_date
CREATE TABLE dividends (
    symbol TEXT NOT NULL,
    ex_date DATE NOT NULL,
    amount DOUBLE PRECISION NOT NULL,
    source TEXT NOT NULL DEFAULT 'external',
    PRIMARY KEY (symbol, ex_date),
    CONSTRAINT dividends_amount CHECK (amount > 0 AND amount < 'Infinity')
);

-- Multiplies in the order given, so that a chain of factors has the same bits as in market/adjustment.py.
CREATE AGGREGATE product_of (DOUBLE PRECISION) (
    SFUNC = float8mul,
    STYPE = DOUBLE PRECISION,
    INITCOND = '1',
    PARALLEL = SAFE
);

-- Daily bars on the price scale of today: prices divided by the ratios of all later splits, volumes multiplied and
-- rounded to whole shares, as market/adjustment.py does it. Dividends are not in it. A row of split_steps holds for the
-- days from from_date to the day before until_date; days after the last split, and symbols without one, have none.
CREATE VIEW adjusted_ohlcv_daily AS
WITH split_steps AS (
    SELECT
        symbol,
        lead(ex_date, 1, '-infinity') OVER later_first AS from_date,
        ex_date AS until_date,
        product_of(ratio) OVER later_first AS divisor
    FROM splits
    WINDOW later_first AS (PARTITION BY symbol ORDER BY ex_date DESC)
)
SELECT
    bar.symbol,
    bar.date,
    bar.open / coalesce(step.divisor, 1) AS open,
    bar.high / coalesce(step.divisor, 1) AS high,
    bar.low / coalesce(step.divisor, 1) AS low,
    bar.close / coalesce(step.divisor, 1) AS close,
    -- double precision holds whole numbers up to 2^53 only, so a volume that no split touches stays as it is
    CASE WHEN coalesce(step.divisor, 1) = 1 THEN bar.volume ELSE (bar.volume * step.divisor)::bigint END AS volume,
    coalesce(step.divisor, 1) AS split_divisor
FROM ohlcv_daily bar
LEFT JOIN split_steps step
    ON step.symbol = bar.symbol AND bar.date >= step.from_date AND bar.date < step.until_date;

-- Closes whose changes are total returns, (close + dividend) / (close of the day before) - 1: the split-adjusted close
-- times close / (close + amount) for each later dividend, with the close of its ex_date, or of the first bar after it.
-- A dividend without such a bar has not been paid yet and is not in it. The factors are looked up in arrays: a symbol has
-- many dividends, and a join by ranges would try them all.
CREATE VIEW total_return_daily AS
WITH dividend_factors AS (
    SELECT dividend.symbol, dividend.ex_date, paid.close / (paid.close + dividend.amount) AS factor
    FROM dividends dividend
    CROSS JOIN LATERAL (
        SELECT bar.close FROM ohlcv_daily bar
        WHERE bar.symbol = dividend.symbol AND bar.date >= dividend.ex_date
        ORDER BY bar.date LIMIT 1
    ) paid
), chains AS (
    SELECT symbol, ex_date, product_of(factor) OVER (PARTITION BY symbol ORDER BY ex_date DESC) AS factor
    FROM dividend_factors
), chains_by_symbol AS (
    SELECT
        symbol,
        array_agg(ex_date ORDER BY ex_date) AS ex_dates,
        array_agg(factor ORDER BY ex_date) AS factors
    FROM chains
    GROUP BY symbol
)
SELECT
    bar.symbol,
    bar.date,
    bar.close,
    coalesce(chain.factors[width_bucket(bar.date, chain.ex_dates) + 1], 1) AS dividend_factor,
    bar.close * coalesce(chain.factors[width_bucket(bar.date, chain.ex_dates) + 1], 1) AS total_return_close
FROM adjusted_ohlcv_daily bar
LEFT JOIN chains_by_symbol chain ON chain.symbol = bar.symbol;
