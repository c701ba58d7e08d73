-- Which symbols belong to which universe, and what else is known of a symbol.

CREATE TABLE dividends (
    symbol TEXT NOT NULL,
    ex_date DATE NOT NULL,
    amount DOUBLE PRECISION NOT NULL,
    source TEXT NOT NULL DEFAULT 'external',
    PRIMARY KEY (symbol, ex_date),
    CONSTRAINT dividends_amount CHECK (amount > 0 AND amount < 'Infinity')
);
