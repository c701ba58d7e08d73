"""Events and formations in thirteen years of real daily bars: how often they come, and live as in batch."""

from datetime import date

import numpy as np
import pytest

from tickstock_pipeline.market.adjustment import split_adjusted
from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.patterns.defaults import DEFAULT_PATTERNS
from tickstock_pipeline.patterns.engine import detect
from tickstock_pipeline.patterns.measures import VOLUME_BARS, Measures
from tickstock_pipeline.patterns.registry import FUNCTIONS
from tickstock_pipeline.patterns.series import LiveSeries
from tickstock_pipeline.providers.sample import SampleProvider

PATTERNS = tuple(row for row in DEFAULT_PATTERNS if FUNCTIONS[row.function].live is not None)
SYMBOLS = ("AAPL", "IBM", "MSFT")


@pytest.fixture(scope="module")
def series() -> dict[str, Bars]:
    provider = SampleProvider()
    fetched = {
        symbol: provider.fetch_bars(symbol, Timeframe.DAILY, date(2000, 1, 1), date(2013, 12, 31)) for symbol in SYMBOLS
    }
    return {symbol: split_adjusted(fetched[symbol].bars, provider.fetch_splits(symbol)) for symbol in SYMBOLS}


def test_none_comes_on_more_than_one_bar_in_twenty_and_each_comes_at_all(series: dict[str, Bars]) -> None:
    counts = np.array([[len(found) for found in detect(bars, PATTERNS)] for bars in series.values()])
    lengths = np.array([[len(bars)] for bars in series.values()])
    assert (counts <= 0.05 * lengths).all()
    assert (counts.sum(axis=0) > 0).all()


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_live_reports_on_real_bars_what_a_batch_finds(series: dict[str, Bars], symbol: str) -> None:
    bars, first = series[symbol], 2000
    expected = {
        (row.name, int(at)): (float(confidence), int(direction))
        for row, found in zip(PATTERNS, detect(bars, PATTERNS), strict=True)
        for at, confidence, direction in zip(found.index, found.confidence, found.direction, strict=True)
        if at >= first
    }
    live_series = LiveSeries(Measures(bars[:first]).series, VOLUME_BARS)
    live = [FUNCTIONS[row.function].live(live_series, row.parameters) for row in PATTERNS]  # type: ignore[misc]
    reported = {}
    columns = [getattr(bars, name).tolist() for name in ("high", "low", "close", "volume")]
    for at in range(first, len(bars)):
        live_series.push(*(column[at] for column in columns))
        for row, pattern in zip(PATTERNS, live, strict=True):
            detection = pattern.update()
            if detection is not None and detection.confidence >= row.confidence_threshold:
                reported[row.name, at] = (detection.confidence, detection.direction)
    assert len(expected) > 50
    assert reported == expected
