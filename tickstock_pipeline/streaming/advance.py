"""New bars into followed series: appended where they are newer, put in their place where they are not.

What comes out is the tail of each series, from the first bar that is new or different to the newest: a correction
changes the results of all bars after it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tickstock_pipeline.analysis import Analysis
from tickstock_pipeline.live.bar import Bar
from tickstock_pipeline.live.series import LiveResult, update_many
from tickstock_pipeline.market.adjustment import price_divisors
from tickstock_pipeline.market.bar import FloatArray
from tickstock_pipeline.market.calendar import TradingCalendar, exchange_date
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.patterns.detections import Detections
from tickstock_pipeline.storage.analysed_window import AnalysedWindow
from tickstock_pipeline.storage.live_rows import BarRow
from tickstock_pipeline.streaming.series_book import WarmSeries


@dataclass(frozen=True, slots=True)
class Tail:
    """The newest results of one series.

    Attributes
    ----------
    times : (n_bars,) microseconds since 1970, consecutive bars, the last one the series' newest
    results : one for each
    is_revised : the first of them is not newer than what the series held before
    """

    symbol: str
    times: Sequence[int]
    results: Sequence[LiveResult]
    is_revised: bool


def advance(
    series: Mapping[str, WarmSeries], rows: Mapping[str, Sequence[BarRow]], timeframe: Timeframe
) -> dict[str, Tail]:
    """Let series take in bars as traded.

    Parameters
    ----------
    series, rows : by symbol; rows in order of time, at least one for each series

    Returns
    -------
    The tails by symbol. A symbol whose bar is too old to be put in its place has none: its series must be replayed.

    Raises
    ------
    Exception
        Whatever a definition's function raises; which series have taken in their bars is not known then.
    """
    found: dict[str, dict[int, LiveResult]] = {}
    revised: set[str] = set()
    appended: list[list[tuple[str, Bar]]] = []
    for symbol, one in series.items():
        bars = _adjusted(rows[symbol], one, timeframe)
        newest = one.series.newest_time
        old = [bar for bar in bars if bar.time <= newest]
        if old:
            if not one.series.can_revise(old[0].time):
                continue
            revised.add(symbol)
        results: dict[int, LiveResult] = {}
        found[symbol] = results
        for bar in old:
            tail = one.series.bars_since(bar.time).time.astype(np.int64).tolist()
            times = [bar.time, *(time for time in tail if time != bar.time)]
            results.update(zip(times, one.series.revise(bar), strict=True))
        for step, bar in enumerate(bars[len(old) :]):
            if step == len(appended):
                appended.append([])
            appended[step].append((symbol, bar))
    for together in appended:
        results_of_step = update_many([series[symbol].series for symbol, _ in together], [bar for _, bar in together])
        for (symbol, bar), result in zip(together, results_of_step, strict=True):
            found[symbol][bar.time] = result
    tails = {}
    for symbol, results in found.items():
        times = sorted(results)
        tails[symbol] = Tail(symbol, times, [results[time] for time in times], symbol in revised)
    return tails


def window_of_tail(one: WarmSeries, tail: Tail, calendar: TradingCalendar) -> AnalysedWindow:
    """The tail's detections as the store takes them; its values are not in it."""
    bars = one.series.bars_since(tail.times[0], before=1)
    offset = len(bars) - len(tail.times)
    detections = tuple(_at(found, offset + at) for at, result in enumerate(tail.results) for found in result.detections)
    return AnalysedWindow(
        Analysis(bars, np.empty((len(bars), 0)), (), detections),
        price_divisors(bars, one.splits),
        calendar.instant(bars.timeframe, bars.time),
        np.datetime64(tail.times[0], "us"),
        np.datetime64(tail.times[-1], "us"),
    )


def values_of(tails: Sequence[Tail]) -> FloatArray:
    """(n_bars, n_outputs): the values of all tails, one after the other."""
    return np.stack([result.values for tail in tails for result in tail.results])


def _at(found: Detections, position: int) -> Detections:
    return replace(found, index=np.array([position], np.int64))


def _adjusted(rows: Sequence[BarRow], one: WarmSeries, timeframe: Timeframe) -> list[Bar]:
    """Bars on the price scale of today; bit for bit what ``split_adjusted`` gives."""
    if not one.splits:
        return [Bar(row.time, row.open, row.high, row.low, row.close, row.volume) for row in rows]
    time = np.array([row.time for row in rows], "int64").view("datetime64[us]")
    days = exchange_date(time) if timeframe.is_intraday else time
    divisors = price_divisors(days, one.splits).tolist()
    return [
        Bar(
            row.time,
            row.open / divisor,
            row.high / divisor,
            row.low / divisor,
            row.close / divisor,
            row.volume if divisor == 1.0 else int(np.rint(row.volume * divisor)),
        )
        for row, divisor in zip(rows, divisors, strict=True)
    ]
