"""What the UI says of the tables behind the assets: their columns, where each comes from, and the formulas.

Names and types of columns are taken from the declared tables, so that only the words are written here; a column without
words is an error when the definitions are loaded. The formulas are those of docs/indicators.md and docs/patterns.md.
"""

from collections.abc import Mapping, Sequence

import dagster as dg
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

PRICES = ("open", "high", "low", "close")
VALUES = (*PRICES, "volume")

BAR_COLUMNS: Mapping[str, str] = {
    "symbol": "As the exchange lists it",
    "open": "First price of the interval, as traded",
    "high": "Highest price",
    "low": "Lowest price",
    "close": "Last price",
    "volume": "Shares",
    "source": "The provider, or `derived:<finer timeframe>`",
}
"""The column of the bar's time is described by whoever knows the timeframe."""

INDICATOR_COLUMNS: Mapping[str, str] = {
    "symbol": "As the exchange lists it",
    "timeframe": "1min, hourly, daily, weekly or monthly",
    "time": "The bar's time; midnight UTC of the date for daily bars and coarser ones",
    "layout_id": "Row of `indicator_layouts`, which names the values",
    "values": "In the layout's order; NULL where there is no value yet",
}

PATTERN_COLUMNS: Mapping[str, str] = {
    "id": "Number of the row",
    "symbol": "As the exchange lists it",
    "pattern_type": "Name in `pattern_definitions`",
    "confidence": "0 to 1: how clearly the bars show the form; not a probability",
    "pattern_data": "What was measured: components of the confidence, prices, bars",
    "detection_timestamp": "The bar that confirms it",
    "expiration_date": "When it ceased to hold; null: it holds",
    "levels": "Prices by name, as traded: entry, stop, target, level",
    "timeframe": "1min, hourly, daily, weekly or monthly",
    "metadata": "What else was noted of the detection",
    "direction": "bullish, bearish or neutral",
    "bar_time": "The bar's time as its table has it; null: another program wrote the row",
    "revision": "One more each time that it came back after a retraction",
    "retracted_at": "When it ceased to hold; null: it holds",
}

INDICATOR_FORMULAS: Mapping[str, str] = {
    "sma": "mean of the last n closes",
    "ema": "E = E₋₁ + 2/(n+1) · (p - E₋₁), begun with the mean of the first n closes",
    "macd": "EMA₁₂ - EMA₂₆, both begun so that their first value is at the 26th bar; its EMA₉; the difference "
    "of the two",
    "rsi": "100 · G / (G + L): Wilder's means of rises and of falls; 0 where the price never moved",
    "stochastic": "%K: mean of 3 of 100 · (C - lowest L₁₄) / (highest H₁₄ - lowest L₁₄); %D: mean of 3 of %K; both "
    "means simple",
    "bollinger_bands": "SMA₂₀ ± 2 standard deviations of the population (ddof 0)",
    "atr": "Wilder's mean of TR",
    "adx": "±DI: 100 · Wilder's sum of ±DM over that of TR; ADX: Wilder's mean of 100 · abs(+DI - -DI) / (+DI + -DI)",
}
"""By function, for those that are enabled from the start."""

PATTERN_RULES: Mapping[str, str] = {
    "doji": "Body at most a tenth of the average range. Direction: neutral.",
    "hammer": "Body below average; lower shadow longer than the body; upper shadow below a tenth of the average range; "
    "the body's lower end at most *near* above the low before. Bullish.",
    "engulfing": "Two candles of opposite colours; the second body covers the first, one end may be shared. Direction: "
    "of the second.",
    "shooting_star": "Body below average, and above the whole body before; upper shadow longer than the body; lower "
    "shadow below a tenth of the average range. Bearish.",
    "hanging_man": "The candle of a hammer, the body's lower end at least *near* the high before. Bearish.",
    "harami": "First body above average; second below average and within the first, one end may be shared. Direction: "
    "against the first.",
    "morning_star": "First candle falls, its body above average; second body below average and beneath the first; "
    "third candle rises, its body above average, and closes more than `penetration` (0.3) of the first body above the "
    "first close. Bullish.",
    "evening_star": "The same upside down. Bearish.",
}
"""By name, for those that are enabled from the start."""


def column_schema(table: sa.Table, words: Mapping[str, str]) -> dg.TableSchema:
    """A table's columns as the UI shows them.

    Raises
    ------
    KeyError
        If a column has no words.
    """
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                column.name,
                column.type.compile(dialect=dialect).lower().replace("timestamp with time zone", "timestamptz"),
                words[column.name],
                constraints=dg.TableColumnConstraints(nullable=bool(column.nullable)),
            )
            for column in table.columns
        ]
    )


def column_lineage(source: dg.AssetKey, columns: Mapping[str, Sequence[str]]) -> dg.TableColumnLineage:
    """Which columns of ``source`` each column is computed from.

    For programs that ask Dagster over GraphQL. Its own UI (1.13) leaves this entry out of everything it shows, whether
    it belongs to an asset or to a materialisation, so it is not written with each partition as well.
    """
    return dg.TableColumnLineage(
        {name: [dg.TableColumnDep(source, column) for column in used] for name, used in columns.items()}
    )


def as_rows(heading: str, rows: Mapping[str, str]) -> str:
    """A table of two columns in Markdown."""
    return "\n".join([f"| {heading} |  |", "|---|---|", *(f"| `{name}` | {text} |" for name, text in rows.items())])
