-- What is needed to say, for each session, whether everything that a provider has is stored.
--
-- A row of bar_provenance says of a symbol's year what was asked and what came; it is never one row a session, since
-- the calendar knows the sessions and the bar tables know the bars. Only what neither can tell is added here.

ALTER TABLE bar_provenance
    -- why somebody other than the provider asked gave the bars, or why there are none
    ADD COLUMN reason TEXT,
    -- of daily bars: how many are derived from minutes, in place of the provider's own
    ADD COLUMN n_provisional INTEGER NOT NULL DEFAULT 0,
    -- of minutes: how many the provider gave for each day of the year, 1 January first. A minute without a trade has no
    -- bar, so the calendar cannot tell how many there should be. 732 bytes a symbol's year.
    ADD COLUMN session_bars SMALLINT[];

-- When a provider was last asked for a symbol's splits or dividends: a request that need not be repeated for each
-- timeframe of the same day.
CREATE TABLE corporate_action_fetches (
    symbol TEXT NOT NULL,
    kind TEXT NOT NULL,
    source TEXT NOT NULL,
    fetched_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (symbol, kind),
    CONSTRAINT corporate_action_fetches_kind CHECK (kind IN ('splits', 'dividends'))
);

-- Splits that their provider no longer lists, and when that was noticed. They are gone from splits, and so from all
-- prices.
CREATE TABLE withdrawn_splits (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    symbol TEXT NOT NULL,
    ex_date DATE NOT NULL,
    ratio DOUBLE PRECISION NOT NULL,
    source TEXT NOT NULL,
    withdrawn_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
