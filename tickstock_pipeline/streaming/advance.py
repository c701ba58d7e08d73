"""New bars into followed series: appended where they are newer, put in their place where they are not.

What comes out is the tail of each series, from the first bar that is new or different to the newest: a correction
changes the results of all bars after it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tickstock_pipeline.analysis import Analysis
from tickstock_pipeline.live.bar import Bar, each_bar
from tickstock_pipeline.live.series import LiveResult, update_many
from tickstock_pipeline.market.adjustment import price_divisors
from tickstock_pipeline.market.bar import Bars, FloatArray
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
    bars : consecutive ones, split-adjusted, the last one the series' newest
    results : one for each
    previous : the bar before them, if there is one
    is_revised : the first of them is not newer than what the series held before
    """

    symbol: str
    bars: Sequence[Bar]
    results: Sequence[LiveResult]
    previous: Bar | None
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
    found: dict[str, dict[int, tuple[Bar, LiveResult]]] = {}
    previous: dict[str, Bar | None] = {}
    revised: set[str] = set()
    appended: list[list[tuple[str, Bar]]] = []
    for symbol, one in series.items():
        bars = split_adjusted_rows(rows[symbol], one, timeframe)
        newest = one.series.newest_time
        old = [bar for bar in bars if bar.time <= newest]
        if old and not one.series.can_revise(old[0].time):
            continue
        found[symbol] = {}
        previous[symbol] = one.last
        if old:
            revised.add(symbol)
            held = {bar.time: bar for bar in each_bar(one.series.bars_since(old[0].time, before=1))}
            first = next(iter(held))
            previous[symbol] = held.pop(first) if first < old[0].time else None
            for bar in old:
                if not one.series.can_revise(bar.time):
                    # those put in before it have moved the checkpoint past it
                    del found[symbol]
                    break
                held[bar.time] = bar
                tail = [held[time] for time in sorted(held) if time >= bar.time]
                results = one.series.revise(bar)
                found[symbol].update({each.time: (each, result) for each, result in zip(tail, results, strict=True)})
        if symbol not in found:
            continue
        for step, bar in enumerate(bars[len(old) :]):
            if step == len(appended):
                appended.append([])
            appended[step].append((symbol, bar))
    for together in appended:
        news = update_many([series[symbol].series for symbol, _ in together], [bar for _, bar in together])
        for (symbol, bar), result in zip(together, news, strict=True):
            found[symbol][bar.time] = bar, result
    tails = {}
    for symbol, by_time in found.items():
        pairs = [by_time[time] for time in sorted(by_time)]
        tails[symbol] = Tail(
            symbol, [bar for bar, _ in pairs], [result for _, result in pairs], previous[symbol], symbol in revised
        )
        series[symbol].last = pairs[-1][0]
    return tails


def window_of_tail(one: WarmSeries, tail: Tail, calendar: TradingCalendar) -> AnalysedWindow:
    """The tail's detections as the store takes them; its values are not in it."""
    held = [*([] if tail.previous is None else [tail.previous]), *tail.bars]
    columns = list(zip(*held, strict=True))
    bars = Bars(
        tail.symbol,
        one.window.timeframe,
        np.array(columns[0], "int64").view("datetime64[us]"),
        open=np.array(columns[1], np.float64),
        high=np.array(columns[2], np.float64),
        low=np.array(columns[3], np.float64),
        close=np.array(columns[4], np.float64),
        volume=np.array(columns[5], np.int64),
    )
    offset = len(held) - len(tail.bars)
    detections = tuple(_at(found, offset + at) for at, result in enumerate(tail.results) for found in result.detections)
    return AnalysedWindow(
        Analysis(bars, np.empty((len(bars), 0)), (), detections),
        price_divisors(bars, one.splits),
        calendar.instant(bars.timeframe, bars.time),
        np.datetime64(tail.bars[0].time, "us"),
        np.datetime64(tail.bars[-1].time, "us"),
    )


def values_of(tails: Sequence[Tail]) -> FloatArray:
    """(n_bars, n_outputs): the values of all tails, one after the other."""
    return np.stack([result.values for tail in tails for result in tail.results])


def _at(found: Detections, position: int) -> Detections:
    return replace(found, index=np.array([position], np.int64))


def split_adjusted_rows(rows: Sequence[BarRow], one: WarmSeries, timeframe: Timeframe) -> list[Bar]:
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
