"""What a batch makes of the same final minutes, to compare the live tables with."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import sqlalchemy as sa

from tickstock_pipeline.batch.analysis import analyse_partitions, stale_partitions
from tickstock_pipeline.batch.outcome import failures
from tickstock_pipeline.batch.roll_ups import roll_up_bars
from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.market.calendar import trading_calendar
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.bars import write_bars
from tickstock_pipeline.storage.provenance import stale_roll_ups

DERIVED = (Timeframe.HOURLY, Timeframe.DAILY, Timeframe.WEEKLY, Timeframe.MONTHLY)
NOW = datetime(2026, 11, 20, 22, tzinfo=UTC)

QUERIES = {
    **{f"ohlcv_{timeframe}": f"SELECT * FROM ohlcv_{timeframe} ORDER BY 1, 2" for timeframe in Timeframe},
    "bar_indicators": """
        SELECT symbol, timeframe, time, outputs, values FROM bar_indicators
        JOIN indicator_layouts ON id = layout_id ORDER BY 1, 2, 3
    """,
    "daily_patterns": """
        SELECT symbol, timeframe, pattern_type, detection_timestamp, bar_time, direction, confidence,
            pattern_data::text, levels::text, metadata::text
        FROM daily_patterns WHERE retracted_at IS NULL ORDER BY 1, 2, 3, 4
    """,
    "daily_indicators": """
        SELECT symbol, timeframe, indicator_type, value_data, bar_time FROM daily_indicators ORDER BY 1, 2, 3
    """,
    "analysis_coverage": """
        SELECT symbol, timeframe, year, definition_digest, anchor, covered_through, n_bars, stale_from
        FROM analysis_coverage WHERE n_bars > 0 ORDER BY 1, 2, 3
    """,
}


def analyse_as_batch(engine: sa.Engine, series: Sequence[Bars], source: str = "test") -> None:
    """Store final minutes at once, roll them up and analyse all timeframes."""
    calendar = trading_calendar()
    with engine.begin() as connection:
        write_bars(connection, series, source)
    years = {int(year) for bars in series for year in np.unique(bars.time.astype("datetime64[Y]").astype(int) + 1970)}
    partitions = [Partition(bars.symbol, year) for bars in series for year in sorted(years)]
    for into in DERIVED:
        assert not failures(roll_up_bars(engine, calendar, into, partitions, now=NOW))
    for timeframe in Timeframe:
        assert not failures(analyse_partitions(engine, calendar, timeframe, partitions))


def contents(engine: sa.Engine, prefix: str = "") -> dict[str, list[Any]]:
    """All that bars and their analysis are, whoever made them and when; of symbols that begin with ``prefix``."""
    with engine.connect() as connection:
        return {
            name: [tuple(row) for row in connection.execute(sa.text(query)) if row.symbol.startswith(prefix)]
            for name, query in QUERIES.items()
        }


def left_for_batch(engine: sa.Engine) -> dict[str, Any]:
    """What a batch would find stale."""
    with engine.connect() as connection:
        return {
            **{f"roll-up {into}": stale_roll_ups(connection, into) for into in DERIVED},
            **{f"analysis {timeframe}": stale_partitions(connection, timeframe) for timeframe in Timeframe},
        }


NOTHING_LEFT: dict[str, Any] = {
    **{f"roll-up {into}": [] for into in DERIVED},
    **{f"analysis {timeframe}": [] for timeframe in Timeframe},
}


def assert_same(live: dict[str, list[Any]], batch: dict[str, list[Any]]) -> None:
    """Table by table, with the first difference in the message."""
    for name, rows in batch.items():
        missing = [row for row in rows if row not in live[name]][:2]
        surplus = [row for row in live[name] if row not in rows][:2]
        assert (missing, surplus) == ([], []), f"{name}: missing {missing}, surplus {surplus}"
        assert len(live[name]) == len(rows), name
