"""Bars a second of batch analysis, next to what bounds it and what it could be done with instead.

Every contestant gets the same arrays, one symbol after the other, and makes the same values and candlesticks. One
thread: processor time, the best of several rounds for each ten symbols. Two threads: the clock, the best of as many.
"""

import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
import talib
from rich.table import Table

from benchmarks.bars import TEN_YEARS, WITH_ALL_PATTERNS, WITH_CANDLESTICKS, walks
from tickstock_pipeline.analysis import analyse, analyse_many
from tickstock_pipeline.indicators.inputs import Inputs
from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.patterns.candlestick import CandlestickDetector
from tickstock_pipeline.patterns.engine import candlestick_detector

SYMBOLS = 500
PORTION = 10
ROUNDS = 5
SLOW_SYMBOLS = 10
PERIODS = (5, 10, 20, 50, 100, 200)

Job = Callable[[Sequence[Bars]], Any]
"""Portion of series → results, kept until the portion is done."""


def measure() -> list[Table]:
    """The table of all contestants."""
    table = Table(title=f"Batch: {SYMBOLS} symbols x {TEN_YEARS} days, 18 indicators and 8 candlesticks")
    for column in ("", "1 thread, M bars/s", "2 threads, M bars/s", "of raw TA-Lib"):
        table.add_column(column, justify="left" if not column else "right")
    series = walks(SYMBOLS)
    few = series[:SLOW_SYMBOLS]
    warnings.simplefilter("ignore")
    contestants: list[tuple[str, Job, Sequence[Bars]]] = [
        ("copying the values' bytes", _copy, series),
        ("raw TA-Lib, results dropped", _raw, series),
        (f"raw TA-Lib, results of {PORTION} symbols kept", _raw_kept, series),
        ("ours, values and marks only", _values_and_marks, series),
        ("ours, complete: analyse_many", _many, series),
        ("ours, complete: analyse", _one_by_one, series),
        ("ours, all patterns: analyse_many", _all_patterns, series[:100]),
        ("pandas-ta-classic through TA-Lib", _pandas_ta(use_talib=True), few),
        ("pandas-ta-classic, its own code", _pandas_ta(use_talib=False), few),
    ]
    raw = 0.0
    for name, job, chosen in contestants:
        one, two = (_bars_per_second(job, chosen, threads) for threads in (1, 2))
        raw = one if name.startswith("raw TA-Lib, results dropped") else raw
        share = f"{one / raw:.2f}" if raw else ""
        table.add_row(name, f"{one / 1e6:.2f}", f"{two / 1e6:.2f}", share)
    table.caption = (
        f"Best of {ROUNDS}; one thread in processor time. pandas-ta-classic on {SLOW_SYMBOLS} symbols, all patterns on "
        "100: time a bar does not depend on how many there are. Complete: with confidence, levels and context."
    )
    return [table]


def _bars_per_second(job: Job, series: Sequence[Bars], threads: int) -> float:
    portions = [series[start : start + PORTION] for start in range(0, len(series), PORTION)]
    if threads == 1:
        return sum(map(len, series)) / sum(_least_time(job, portion) for portion in portions)
    if len(portions) < threads:
        half = len(series) // threads
        portions = [series[:half], series[half:]]
    best = 0.0
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(ROUNDS):
            start = time.perf_counter()
            for _ in pool.map(lambda portion: _done(job, portion), portions):
                pass
            best = max(best, sum(map(len, series)) / (time.perf_counter() - start))
    return best


def _least_time(job: Job, portion: Sequence[Bars]) -> float:
    """Processor time of the fastest round; other processes can only slow one down."""
    taken = []
    for _ in range(ROUNDS):
        start = time.thread_time()
        result = job(portion)
        taken.append(time.thread_time() - start)
        del result
    return min(taken)


def _done(job: Job, portion: Sequence[Bars]) -> None:
    job(portion)


_SOURCE = np.ones((TEN_YEARS, 25))


def _copy(series: Sequence[Bars]) -> None:
    target = np.empty_like(_SOURCE)
    for bars in series:
        np.copyto(target[: len(bars)], _SOURCE[: len(bars)])


def _raw_values(bars: Bars) -> list[Any]:
    open_, high, low, close = bars.open, bars.high, bars.low, bars.close
    values = [talib.SMA(close, period) for period in PERIODS]
    values += [talib.EMA(close, period) for period in PERIODS]
    return [
        *values,
        talib.MACD(close, 12, 26, 9),
        talib.RSI(close, 14),
        talib.STOCH(high, low, close, 14, 3, 0, 3, 0),
        talib.BBANDS(close, 20, 2.0, 2.0, 0),
        talib.ATR(high, low, close, 14),
        talib.ADX(high, low, close, 14),
        talib.PLUS_DI(high, low, close, 14),
        talib.MINUS_DI(high, low, close, 14),
        talib.CDLDOJI(open_, high, low, close),
        talib.CDLHAMMER(open_, high, low, close),
        talib.CDLENGULFING(open_, high, low, close),
        talib.CDLSHOOTINGSTAR(open_, high, low, close),
        talib.CDLHANGINGMAN(open_, high, low, close),
        talib.CDLHARAMI(open_, high, low, close),
        talib.CDLMORNINGSTAR(open_, high, low, close, 0.3),
        talib.CDLEVENINGSTAR(open_, high, low, close, 0.3),
    ]


def _raw(series: Sequence[Bars]) -> None:
    for bars in series:
        _raw_values(bars)


def _raw_kept(series: Sequence[Bars]) -> list[Any]:
    return [_raw_values(bars) for bars in series]


_DETECTORS: list[CandlestickDetector] = [candlestick_detector(row) for row in WITH_CANDLESTICKS.patterns]


def _values_and_marks(series: Sequence[Bars]) -> None:
    for bars in series:
        inputs = Inputs(bars)
        WITH_CANDLESTICKS.indicator_program.run(inputs)
        for detector in _DETECTORS:
            detector.marked([detector.recognised(inputs)])


def _many(series: Sequence[Bars]) -> list[Any]:
    return analyse_many(series, WITH_CANDLESTICKS)


def _one_by_one(series: Sequence[Bars]) -> None:
    for bars in series:
        analyse(bars, WITH_CANDLESTICKS)


def _all_patterns(series: Sequence[Bars]) -> list[Any]:
    return analyse_many(series, WITH_ALL_PATTERNS)


def _pandas_ta(*, use_talib: bool) -> Job:
    import pandas_ta_classic as ta

    names = ["doji", "hammer", "engulfing", "shootingstar", "hangingman", "harami", "morningstar", "eveningstar"]

    def run(series: Sequence[Bars]) -> None:
        for bars in series:
            index = pd.DatetimeIndex(bars.time)
            open_, high, low, close = (
                pd.Series(getattr(bars, name), index) for name in ("open", "high", "low", "close")
            )
            for period in PERIODS:
                ta.sma(close, length=period, talib=use_talib)
                ta.ema(close, length=period, talib=use_talib)
            ta.macd(close, talib=use_talib)
            ta.rsi(close, talib=use_talib)
            ta.stoch(high, low, close, k=14, d=3, smooth_k=3)
            ta.bbands(close, length=20, std=2.0, talib=use_talib)
            ta.atr(high, low, close, length=14, talib=use_talib)
            ta.adx(high, low, close, length=14)
            # It has no code of its own for most candlesticks
            ta.cdl_pattern(open_, high, low, close, name=names)

    return run
