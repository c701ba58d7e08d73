"""Memory of the live state of many symbols, in a process of its own each."""

import gc
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace

import psutil
from rich.table import Table

from benchmarks.bars import WITH_ALL_PATTERNS, WITH_CANDLESTICKS, walks
from tickstock_pipeline.live.bar import each_bar
from tickstock_pipeline.live.plan import LivePlan
from tickstock_pipeline.live.series import LiveSeries, update_many

SYMBOLS = 1000
WALKS = 20
HISTORY = 2600
NEW_BARS = 100
"""More than between two checkpoints: from then on the state no longer grows."""
_SETS = {"candlesticks": WITH_CANDLESTICKS, "patterns": WITH_ALL_PATTERNS}


def measure() -> list[Table]:
    """Growth of the process, and what of it is Python's; replayed, and after some bars more."""
    table = Table(title=f"Live, memory of {SYMBOLS} symbols past {HISTORY} bars, checkpoints included, MB")
    for column in ("", "process, replayed", f"process, {NEW_BARS} bars later", "Python objects, replayed", "later"):
        table.add_column(column, justify="left" if not column else "right")
    for name, which in (
        ("18 indicators, 8 candlesticks", "candlesticks"),
        (f"18 indicators, all {len(WITH_ALL_PATTERNS.patterns)} patterns", "patterns"),
    ):
        table.add_row(name, *_in_a_process_of_its_own(which, "process"), *_in_a_process_of_its_own(which, "python"))
    return [table]


def _in_a_process_of_its_own(which: str, how: str) -> list[str]:
    command = [sys.executable, "-m", "benchmarks.memory", which, how]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def _growth(which: str, how: str) -> Iterator[float]:
    plan = LivePlan(_SETS[which])
    walked = walks(WALKS, HISTORY + NEW_BARS)
    histories = [bars[:HISTORY] for bars in walked]
    coming = [list(each_bar(bars[HISTORY:])) for bars in walked]
    # What the first series needs once and for all is not the state's
    first = LiveSeries.replayed(histories[0], plan)
    for bar in coming[0]:
        first.update(bar)
    gc.collect()
    process = psutil.Process()
    if how == "python":
        tracemalloc.start()

    def held() -> int:
        gc.collect()
        return tracemalloc.get_traced_memory()[0] if how == "python" else int(process.memory_info().rss)

    before = held()
    series = [
        LiveSeries.replayed(replace(histories[number % WALKS], symbol=f"S{number}"), plan) for number in range(SYMBOLS)
    ]
    yield (held() - before) / 1e6
    for step in range(NEW_BARS):
        update_many(series, [coming[number % WALKS][step] for number in range(SYMBOLS)])
    yield (held() - before) / 1e6


if __name__ == "__main__":
    for growth in _growth(*sys.argv[1:]):
        print(f"{growth:.1f}")
