"""``python -m chaos --seed N --minutes M --symbols K``: see docs/chaos.md. Exits with 1 if anything differs."""

import argparse
import secrets
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from chaos.plan import Plan
from chaos.run import ChaosRun


def main() -> int:
    """Run what the command line asks for; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="of kills, faults and bars; default: a new one, which is printed")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long the market is played (default: 10)")
    parser.add_argument("--symbols", type=int, default=1000, help="of a synthetic universe (default: 1000)")
    parser.add_argument("--kills", type=float, default=4.0, help="kills a minute, of all processes (default: 4)")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="use this empty folder, and leave all in it")
    words = parser.parse_args()
    seed = secrets.randbelow(1_000_000) if words.seed is None else words.seed
    plan = Plan(seed, words.minutes, words.symbols, words.kills)
    console = Console()
    console.print(f"python -m chaos --seed {seed} --minutes {words.minutes:g} --symbols {words.symbols}")
    with tempfile.TemporaryDirectory(prefix="tickstock-chaos-") as temporary:
        folder = words.keep or Path(temporary)
        report = ChaosRun(plan, folder, console.print).run()
    report.show(console)
    return 0 if report.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
