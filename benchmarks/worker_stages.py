"""``tickstock worker`` with its stages timed, for benchmarks: ``python -m benchmarks.worker_stages FILE WORDS``.

Everything after FILE is for the command. When the worker ends, FILE gets the seconds of each stage as JSON, counted
since the last SIGUSR1.
"""

import json
import signal
import sys
from pathlib import Path

from benchmarks.live import STAGES
from benchmarks.stopwatch import Place, split_times
from tickstock_pipeline.cli.app import main
from tickstock_pipeline.messaging.bar_reader import BarReader
from tickstock_pipeline.streaming.publisher import Publisher
from tickstock_pipeline.streaming.taking import BarTaker

AROUND: dict[str, list[Place]] = {
    "begin, commit and the rest": [(BarTaker, "take")],
    "publish": [(Publisher, "publish_bars"), (Publisher, "publish")],
    "acknowledge": [(BarReader, "acknowledge")],
}


def run(file: Path, words: list[str]) -> None:
    """Be the worker."""
    with split_times({**AROUND, **STAGES}) as spent:

        def forget(*_: object) -> None:
            for stage in spent:
                spent[stage] = 0.0

        signal.signal(signal.SIGUSR1, forget)
        sys.argv = ["tickstock", "worker", *words]
        try:
            main()
        finally:
            file.write_text(json.dumps(spent), encoding="utf-8")


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2:])
