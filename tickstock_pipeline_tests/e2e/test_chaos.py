"""A short market with every fault while each process is killed: see docs/chaos.md for the long one."""

from pathlib import Path

import pytest
from rich.console import Console

from chaos.plan import TARGETS, Plan
from chaos.run import ChaosRun

PLAN = Plan(seed=3, minutes=0.6, n_symbols=6, kills_per_minute=8)


@pytest.mark.timeout(300)
def test_nothing_is_lost_or_doubled_while_every_process_is_killed(clean_environment: None, tmp_path: Path) -> None:
    said: list[str] = []
    report = ChaosRun(PLAN, tmp_path, said.append).run()

    console = Console(record=True, width=160)
    report.show(console)
    assert report.is_good, "\n".join([*said, console.export_text()])
    assert {one.what.removeprefix("kill -9 ") for one in report.done if one.times} >= set(TARGETS)
    assert [finding.name for finding in report.findings if not finding.expected] == ["left for a batch to do"]
