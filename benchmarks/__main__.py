"""``python -m benchmarks`` measures everything and prints it, ``--only NAME`` one thing. Nothing is written."""

import argparse
from collections.abc import Callable
from functools import partial

from rich.console import Console
from rich.table import Table

from benchmarks import (
    backfill,
    bar_storage,
    bulk,
    closing,
    from_socket,
    imports,
    jobs,
    latency,
    layouts,
    live,
    memory,
    settling,
    sustained,
    throughput,
)
from benchmarks.machine import description

BENCHMARKS: dict[str, Callable[[], list[Table]]] = {
    "throughput": throughput.measure,
    "latency": latency.measure,
    "closing": closing.measure,
    "memory": memory.measure,
    "settling": settling.measure,
    "bulk": bulk.measure,
    "layouts": layouts.measure,
    "bar_storage": bar_storage.measure,
    "imports": imports.measure,
    "jobs": jobs.measure,
    "backfill": backfill.measure,
    "live": live.measure,
    "socket": from_socket.measure,
    "sustained": sustained.measure,
}


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", choices=sorted(BENCHMARKS), help="measure this alone")
    parser.add_argument(
        "--minutes", type=float, default=1.0, help="how long `sustained` takes (default: 1; the target is for 10)"
    )
    words = parser.parse_args()
    benchmarks: dict[str, Callable[[], list[Table]]] = {
        **BENCHMARKS,
        "sustained": partial(sustained.measure, words.minutes),
    }
    console = Console()
    console.print(description())
    for name, measure in benchmarks.items():
        if words.only in (None, name):
            for table in measure():
                console.print(table)


if __name__ == "__main__":
    main()
