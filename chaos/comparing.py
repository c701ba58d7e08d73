"""Live tables and events against what they must be."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from chaos.expected import COLUMNS
from chaos.report import Finding
from chaos.state import PatternEvent
from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage import schema
from tickstock_pipeline.storage.engine import create_engine
from tickstock_pipeline_tests.integration.streaming.as_batch import (
    NOTHING_LEFT,
    QUERIES,
    analyse_as_batch,
    left_for_batch,
)

_TIME_COLUMNS = {"1min": "timestamp", "hourly": "timestamp", "daily": "date", "weekly": "week_ending"}
_BATCH = "batch"

# What identifies a published detection, apart from its flow.
_Key = tuple[str, str, str, float]


def compare_bars(engine: sa.Engine, expected: Mapping[str, pd.DataFrame], since: date = date.min) -> list[Finding]:
    """Each bar table against the plain script.

    Parameters
    ----------
    since : what is older in the tables does not count
    """
    return [_compare_table(engine, name, bars, since) for name, bars in expected.items()]


def compare_analysis(engine: sa.Engine, minutes: pd.DataFrame) -> list[Finding]:
    """All analysis against what a batch makes of the same minutes in an empty database on the same server."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f'CREATE DATABASE "{_BATCH}"')
    url = engine.url.set(drivername="postgresql", database=_BATCH).render_as_string(hide_password=False)
    schema.upgrade(url)
    batch = create_engine(url)
    try:
        analyse_as_batch(batch, [_as_bars(symbol, rows) for symbol, rows in minutes.groupby(level="symbol")])
        tables = {name: query for name, query in QUERIES.items() if not name.startswith("ohlcv_")}
        findings = [_compare_with_batch(name, query, engine, batch) for name, query in tables.items()]
    finally:
        batch.dispose()
    left = left_for_batch(engine)
    stale = [f"{what}: {left[what]}" for what, nothing in NOTHING_LEFT.items() if left[what] != nothing]
    return [*findings, Finding.of("left for a batch to do", 0, stale)]


def compare_events(engine: sa.Engine, events: Sequence[PatternEvent]) -> list[Finding]:
    """Rows of patterns against what was published of them."""
    with engine.connect() as connection:
        rows = connection.execute(
            sa.text("""
                SELECT symbol, timeframe, pattern_type, extract(epoch FROM detection_timestamp)::float8,
                    revision, retracted_at IS NULL FROM daily_patterns
            """)
        ).all()
        logged = connection.execute(
            sa.text("""
                SELECT flow_id, count(*) FROM integration_events WHERE checkpoint = 'PATTERN_PUBLISHED'
                GROUP BY flow_id HAVING count(*) > 1
            """)
        ).all()
    stored = {tuple(row[:4]): (int(row[4]), bool(row[5])) for row in rows}
    flows: dict[tuple[_Key, int], set[str]] = defaultdict(set)
    owners: dict[str, set[tuple[_Key, int]]] = defaultdict(set)
    for event in events:
        key: _Key = event[:4]
        flows[key, event.revision].add(event.flow_id)
        owners[event.flow_id].add((key, event.revision))
    live = [(key, revision) for key, (revision, is_live) in stored.items() if is_live]
    return [
        Finding.of("patterns published", len(live), (_text(one) for one in live if one not in flows)),
        Finding.of(
            "published patterns stored",
            len(flows),
            (_text((key, n)) for key, n in flows if key not in stored or n > stored[key][0]),
        ),
        Finding.of("one flow a pattern", len(flows), (_text(one) for one, ids in flows.items() if len(ids) != 1)),
        Finding.of("one pattern a flow", len(owners), (flow for flow, of in owners.items() if len(of) != 1)),
        Finding.of("flows logged once", len(owners), (f"{flow}: {count} times" for flow, count in logged)),
    ]


def _compare_table(engine: sa.Engine, timeframe: str, expected: pd.DataFrame, since: date) -> Finding:
    column = _TIME_COLUMNS.get(timeframe, "month_ending")
    query = f"""
        SELECT symbol, "{column}", open, high, low, close, volume FROM ohlcv_{timeframe} WHERE "{column}" >= :since
    """  # noqa: S608 - ours
    with engine.connect() as connection:
        rows = connection.execute(sa.text(query), {"since": since})
        found = [(row[0], _instant(row[1]), *row[2:]) for row in rows]
    wanted = {
        (symbol, _instant(time)): (*map(float, prices), int(volume))
        for (symbol, time), *prices, volume in expected[COLUMNS].itertuples(name=None)
    }
    return Finding.of(f"ohlcv_{timeframe}", len(wanted), _differences(wanted, found))


def _differences(wanted: Mapping[Any, Any], found: Iterable[tuple[Any, ...]]) -> Iterator[str]:
    rest = dict(wanted)
    for symbol, time, *values in found:
        expected = rest.pop((symbol, time), None)
        if expected is None:
            yield f"{symbol} {time} is there and should not be, or is there twice"
        elif expected != tuple(values):
            yield f"{symbol} {time} is {values} and should be {expected}"
    for symbol, time in rest:
        yield f"{symbol} {time} is missing"


def _compare_with_batch(name: str, query: str, live: sa.Engine, batch: sa.Engine) -> Finding:
    expected, found = _digests(batch, query), _digests(live, query)
    differences = []
    for symbol in sorted(expected.keys() | found.keys()):
        if expected.get(symbol) != found.get(symbol):
            differences += _rows_apart(symbol, _rows(batch, query, symbol), _rows(live, query, symbol))
    return Finding.of(name, sum(count for count, _ in expected.values()), differences)


def _digests(engine: sa.Engine, query: str) -> dict[str, tuple[int, str]]:
    """Of each symbol, how many rows it has, and a digest of them: a thousand symbols would not fit into memory."""
    text = f"""
        SELECT symbol, count(*), md5(string_agg(row::text, '|' ORDER BY row::text)) FROM ({query}) row GROUP BY symbol
    """  # noqa: S608 - our own queries
    with engine.connect() as connection:
        return {symbol: (count, digest) for symbol, count, digest in connection.execute(sa.text(text))}


def _rows(engine: sa.Engine, query: str, symbol: str) -> list[tuple[Any, ...]]:
    text = f"SELECT * FROM ({query}) row WHERE symbol = :symbol"  # noqa: S608 - our own queries
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(sa.text(text), {"symbol": symbol})]


def _rows_apart(symbol: str, expected: Iterable[Any], found: Iterable[Any]) -> list[str]:
    wanted, is_there = (set(map(repr, rows)) for rows in (expected, found))
    apart = [f"missing {row}" for row in sorted(wanted - is_there)]
    apart += [f"surplus {row}" for row in sorted(is_there - wanted)]
    return apart or [f"{symbol} differs in its digest"]


def _as_bars(symbol: Any, rows: pd.DataFrame) -> Bars:
    time = rows.index.get_level_values("time").tz_localize(None).to_numpy().astype("datetime64[us]")
    open_, high, low, close = (rows[name].to_numpy(np.float64) for name in COLUMNS[:4])
    return Bars(str(symbol), Timeframe.MINUTE, time, open_, high, low, close, rows["volume"].to_numpy(np.int64))


@lru_cache(maxsize=100_000)
def _instant(time: Any) -> str:
    """A bar's time in one spelling, wherever it comes from."""
    if isinstance(time, datetime) and time.tzinfo is not None:
        return str(pd.Timestamp(time).tz_convert("UTC").isoformat())
    return str(pd.Timestamp(time).date())


def _text(one: tuple[_Key, int]) -> str:
    (symbol, timeframe, pattern, time), revision = one
    return f"{symbol} {timeframe} {pattern} {pd.Timestamp(time, unit='s', tz='UTC').isoformat()} revision {revision}"
