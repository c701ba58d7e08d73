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
