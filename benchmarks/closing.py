"""Compute time of many symbols that close a bar at the same instant."""

import gc
import time
from dataclasses import replace

import numpy as np
from rich.table import Table

from benchmarks.bars import WITH_ALL_PATTERNS, WITH_CANDLESTICKS, walks
from tickstock_pipeline.live.bar import each_bar
from tickstock_pipeline.live.plan import LivePlan
from tickstock_pipeline.live.series import LiveSeries, update_many

SYMBOLS = 1000
WALKS = 100
HISTORY = 2600
NEW_BARS = 150


def measure() -> list[Table]:
    """Quantiles over all instants."""
    table = Table(title=f"Live, {SYMBOLS} symbols closing a bar at once: {NEW_BARS} instants")
    for column in ("", "best, ms", "p50, ms", "p90, ms", "p50 of processor time, ms"):
        table.add_column(column, justify="left" if not column else "right")
    for name, definitions in (
        ("18 indicators, 8 candlesticks", WITH_CANDLESTICKS),
        (f"18 indicators, all {len(WITH_ALL_PATTERNS.patterns)} patterns", WITH_ALL_PATTERNS),
    ):
        plan = LivePlan(definitions)
        histories = walks(WALKS, HISTORY + NEW_BARS)
        series = [
            LiveSeries.replayed(replace(histories[number % WALKS], symbol=f"S{number}")[:HISTORY], plan)
            for number in range(SYMBOLS)
        ]
        coming = [list(each_bar(bars[HISTORY:])) for bars in histories]
        gc.collect()
        gc.freeze()
        wall, processor = [], []
        for step in range(NEW_BARS):
            bars = [coming[number % WALKS][step] for number in range(SYMBOLS)]
            start, start_processor = time.perf_counter(), time.thread_time()
            update_many(series, bars)
            wall.append(time.perf_counter() - start)
            processor.append(time.thread_time() - start_processor)
        gc.unfreeze()
        quantiles = np.quantile(np.array(wall) * 1e3, [0.0, 0.5, 0.9])
        table.add_row(name, *(f"{value:.1f}" for value in (*quantiles, np.median(processor) * 1e3)))
    return [table]
