"""The count of bars without analysis equals a count over the bars, whatever happened to them."""

from datetime import date

import numpy as np
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.coverage import Coverage, missing_analysis, record_coverage, stale_analysis
from tickstock_pipeline.storage.ledger import lock_inputs

DAYS = [date(2012, 12, 27), date(2012, 12, 28), date(2012, 12, 31), date(2013, 1, 2), date(2013, 1, 3)]
SYMBOLS = ("A", "B")

_bars = st.tuples(st.sampled_from(SYMBOLS), st.sampled_from(DAYS))
_write = st.tuples(st.just("write"), _bars, st.sampled_from([10.0, 11.0]))
_delete = st.tuples(st.just("delete"), _bars, st.none())
_analyse = st.tuples(st.just("analyse"), st.tuples(st.sampled_from(SYMBOLS), st.sampled_from([2012, 2013])), st.none())
STEPS = st.lists(st.one_of(_write, _delete, _analyse), max_size=14)


class Model:
    """Bars and the state of their analysis, one by one."""

    def __init__(self) -> None:
        self.bars: dict[tuple[str, date], float] = {}
        self.analysed: dict[tuple[str, int], set[date]] = {}

    def change(self, symbol: str, day: date) -> None:
        # a value depends on the bars before it, of earlier years as well
        for (other, year), days in self.analysed.items():
            if other == symbol:
                self.analysed[other, year] = {analysed for analysed in days if analysed < day}

    def missing(self) -> dict[tuple[str, int], int]:
        found: dict[tuple[str, int], int] = {}
        for symbol, day in self.bars:
            if day not in self.analysed.get((symbol, day.year), set()):
                found[symbol, day.year] = found.get((symbol, day.year), 0) + 1
        return found


def _apply(connection: sa.Connection, model: Model, step: tuple) -> None:
    what, (symbol, at), close = step
    if what == "write":
        if model.bars.get((symbol, at)) == close:
            return
        connection.execute(
            sa.text(
                "INSERT INTO ohlcv_daily (symbol, date, open, high, low, close, volume)"
                " VALUES (:s, :d, 10, 12, 9, :c, 1)"
                " ON CONFLICT (symbol, date) DO UPDATE SET close = excluded.close"
            ),
            {"s": symbol, "d": at, "c": close},
        )
        model.bars[symbol, at] = close
        model.change(symbol, at)
    elif what == "delete":
        if model.bars.pop((symbol, at), None) is None:
            return
        connection.execute(sa.text("DELETE FROM ohlcv_daily WHERE symbol = :s AND date = :d"), {"s": symbol, "d": at})
        model.change(symbol, at)
    else:
        days = sorted(day for other, day in model.bars if other == symbol and day.year == at)
        lock_inputs(connection, Timeframe.DAILY, [symbol], None, None)
        last = np.datetime64(days[-1], "us") if days else None
        record_coverage(
            connection,
            [Coverage(symbol, Timeframe.DAILY, at, "one", np.datetime64("2000-01-03", "us"), last, len(days))],
        )
        model.analysed[symbol, at] = set(days)


@given(STEPS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_count_is_that_of_the_bars_whose_analysis_does_not_hold(engine: sa.Engine, steps: list[tuple]) -> None:
    model = Model()
    with engine.connect() as connection:
        for step in steps:
            _apply(connection, model, step)
        stale = stale_analysis(connection, Timeframe.DAILY, "one")
        total = missing_analysis(connection, Timeframe.DAILY, "one")
        connection.rollback()

    assert {(one.symbol, one.year): one.bars for one in stale if one.bars} == model.missing()
    assert total.bars == sum(model.missing().values())
    assert total.partitions == len(stale)
