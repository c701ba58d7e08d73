"""Memory of the live state of many symbols, in a process of its own each."""

import gc
import subprocess
import sys
import tracemalloc
from dataclasses import replace

import psutil
from rich.table import Table

from benchmarks.bars import WITH_ALL_PATTERNS, WITH_CANDLESTICKS, walk
from tickstock_pipeline.live.plan import LivePlan
from tickstock_pipeline.live.series import LiveSeries

SYMBOLS = 1000
HISTORY = 2600
_SETS = {"candlesticks": WITH_CANDLESTICKS, "patterns": WITH_ALL_PATTERNS}


def measure() -> list[Table]:
    """Growth of the process, and what of it is Python's."""
    table = Table(title=f"Live, memory of {SYMBOLS} symbols past {HISTORY} bars, checkpoints included")
    for column in ("", "process, MB", "of it Python objects, MB"):
        table.add_column(column, justify="left" if not column else "right")
    for name, which in (
        ("18 indicators, 8 candlesticks", "candlesticks"),
        (f"18 indicators, all {len(WITH_ALL_PATTERNS.patterns)} patterns", "patterns"),
    ):
        process, python = (_in_a_process_of_its_own(which, how) for how in ("process", "python"))
        table.add_row(name, f"{process:.1f}", f"{python:.1f}")
    return [table]


def _in_a_process_of_its_own(which: str, how: str) -> float:
    command = [sys.executable, "-m", "benchmarks.memory", which, how]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _growth(which: str, how: str) -> float:
    plan = LivePlan(_SETS[which])
    history = walk(0, HISTORY)
    # What the first series needs once and for all is not the state's
    LiveSeries.replayed(history, plan)
    gc.collect()
    process = psutil.Process()
    if how == "python":
        tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0] if how == "python" else process.memory_info().rss
    series = [LiveSeries.replayed(replace(history, symbol=f"S{number}"), plan) for number in range(SYMBOLS)]
    gc.collect()
    after = tracemalloc.get_traced_memory()[0] if how == "python" else process.memory_info().rss
    assert len(series) == SYMBOLS
    return (after - before) / 1e6


if __name__ == "__main__":
    print(_growth(*sys.argv[1:]))
