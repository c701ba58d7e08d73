"""Time of one new bar of one symbol, from the bar to its values and detections."""

import gc
import time

import numpy as np
from rich.table import Table

from benchmarks.bars import WITH_ALL_PATTERNS, WITH_CANDLESTICKS, walks
from tickstock_pipeline.live.bar import each_bar
from tickstock_pipeline.live.plan import LivePlan
from tickstock_pipeline.live.series import LiveSeries

SYMBOLS = 40
HISTORY = 2600
NEW_BARS = 200


def measure() -> list[Table]:
    """Percentiles over all new bars."""
    table = Table(title=f"Live, one bar of one symbol: {SYMBOLS * NEW_BARS} bars after {HISTORY} bars of history")
    for column in ("", "p50, ms", "p99, ms", "slowest, ms"):
        table.add_column(column, justify="left" if not column else "right")
    for name, definitions in (
        ("18 indicators, 8 candlesticks", WITH_CANDLESTICKS),
        (f"18 indicators, all {len(WITH_ALL_PATTERNS.patterns)} patterns", WITH_ALL_PATTERNS),
    ):
        plan = LivePlan(definitions)
        histories = walks(SYMBOLS, HISTORY + NEW_BARS)
        series = [LiveSeries.replayed(bars[:HISTORY], plan) for bars in histories]
        coming = [list(each_bar(bars[HISTORY:])) for bars in histories]
        gc.collect()
        # As a worker does after its start: the collector need not look at what stays
        gc.freeze()
        taken = []
        for step in range(NEW_BARS):
            for one, bars in zip(series, coming, strict=True):
                start = time.perf_counter()
                one.update(bars[step])
                taken.append(time.perf_counter() - start)
        gc.unfreeze()
        milliseconds = np.array(taken) * 1e3
        table.add_row(
            name, *(f"{value:.3f}" for value in (*np.quantile(milliseconds, [0.5, 0.99]), milliseconds.max()))
        )
    return [table]
