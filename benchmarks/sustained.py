"""The live path over minutes: 2,000 second aggregates a second, and what becomes of lag and memory.

``tickstock replay`` plays a session of 1,000 symbols at twice its speed over its WebSocket: each half second an ``A``
of every symbol, each half minute an ``AM`` of every symbol. ``tickstock feed`` reads them through the official client
and appends the closed minutes; ``tickstock worker`` stores, analyses and publishes them. Each is a process of its own,
as are PostgreSQL and Redis.

Lag is from the moment at which the server sends a minute's last event to the receipt of its bar on ``tickstock_data``,
which comes after the commit, and to that of the message that it has been analysed.
"""

import json
import signal
import sys
import time
from collections import Counter
from collections.abc import Set
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from benchmarks.live_stage import Running, live_stage, store_history
from benchmarks.observers import Key, Observer, by_minute
from chaos.comparing import compare_bars
from chaos.expected import expected_bars
from chaos.report import Finding
from chaos.waiting import until
from tickstock_pipeline.cli.replay import SYNTHETIC_YEARS
from tickstock_pipeline.market.bar import FloatArray
from tickstock_pipeline.replay.market import ReplayMarket
from tickstock_pipeline.replay.synthetic import SyntheticSource
from tickstock_pipeline.runtime.ports import any_free_port, is_listening
from tickstock_pipeline.runtime.process import ServiceProcess

SYMBOLS = 1000
SPEED = 2.0
HISTORY = (date(2013, 2, 27), date(2013, 2, 28))
SESSION = date(2013, 3, 1)

_SAMPLE_S = 1.0
_PARTS = ("first quarter", "second", "third", "last")


@dataclass(slots=True)
class _Samples:
    """What the processes showed of themselves, once a second."""

    worker_mb: list[float] = field(default_factory=list)
    feed_mb: list[float] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)
    feed: dict[str, str] = field(default_factory=dict)
    worker: dict[str, str] = field(default_factory=dict)

    def take(self, running: Running) -> None:
        self.worker_mb.append(running.memory("worker"))
        self.feed_mb.append(running.memory("feed"))
        self.waiting.append(running.n_waiting())
        self.feed, self.worker = running.feed, running.worker


def measure(minutes: float = 1.0) -> list[Table]:
    """Play for so many minutes of the clock, from the first event on."""
    # the same as that of the server
    source = SyntheticSource(SYMBOLS, SESSION - SYNTHETIC_YEARS, SESSION)
    with live_stage([one.symbol for one in source.listings()]) as running:
        store_history(running, ReplayMarket(source), *HISTORY)
        log = running.folder / "events.jsonl"
        replay, port = _replay(running.folder, log)
        try:
            replay.start()
            until(lambda: is_listening("127.0.0.1", port), "replay server")
            running.stage.connect(
                f"http://127.0.0.1:{port}", f"ws://127.0.0.1:{port}", {"TICKSTOCK_LIVE_SECONDS": "true"}
            )
            with Observer(running.stage.redis_url) as observer:
                running.start()
                samples = _sampled(running, minutes * 60)
                replay.stop()
                running.until_rest()
                published, analysed = by_minute(observer.published), by_minute(observer.analysed)
        finally:
            replay.stop()
        sent, rates = _sent(log)
        found = compare_bars(running.engine, {"1min": expected_bars(log)["1min"]}, SESSION)[0]
    counts = _count_table(samples, rates, sent.keys(), published.keys(), found)
    counts.caption = f"{SYMBOLS * SPEED:,.0f} second aggregates a second for {minutes:g} min, {SYMBOLS:,} symbols"
    return [
        _lag_table("Minutes, from sent to published, ms", sent, published),
        _lag_table("Minutes, from sent to analysed, ms", sent, analysed),
        _memory_table(samples),
        counts,
    ]


def _replay(folder: Path, log: Path) -> tuple[ServiceProcess, int]:
    port = any_free_port()
    words = ["--source", "synthetic", "--count", str(SYMBOLS), "--from", str(SESSION), "--speed", str(SPEED)]
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "tickstock_pipeline",
        "replay",
        *words,
        "--port",
        str(port),
        "--log",
        log,
    ]
    # its own Ctrl-C closes the log in good order
    process = ServiceProcess(
        "replay", command, log_file=folder / "replay.log", stop_signal=signal.SIGTERM, stop_timeout=20.0
    )
    return process, port


def _sampled(running: Running, seconds: float) -> _Samples:
    samples = _Samples()
    began = time.monotonic()
    while (now := time.monotonic() - began) < seconds:
        samples.take(running)
        time.sleep(max(_SAMPLE_S - (time.monotonic() - began - now), 0.0))
    samples.take(running)
    return samples


def _sent(log: Path) -> tuple[dict[Key, float], list[int]]:
    """When each minute was sent last; how many seconds' aggregates were sent in each second of the clock."""
    sent: dict[Key, float] = {}
    rates: Counter[int] = Counter()
    with log.open(encoding="utf-8") as lines:
        for line in lines:
            one: Any = json.loads(line)
            event = one["event"]
            if event["ev"] == "AM":
                sent[event["sym"], event["s"]] = one["sent"]
            else:
                rates[int(one["sent"])] += 1
    return sent, [rates[second] for second in range(min(rates), max(rates) + 1)]


def _lag_table(title: str, sent: dict[Key, float], came: dict[Key, float]) -> Table:
    table = Table(title=title)
    for column in ("sent in the", "bars", "p50", "p99", "slowest"):
        table.add_column(column, justify="left" if column == "sent in the" else "right")
    keys = sorted((key for key in sent if key in came), key=lambda key: sent[key])
    at = np.array([sent[key] for key in keys])
    lag = np.array([came[key] - sent[key] for key in keys]) * 1e3
    part = np.minimum((at - at[0]) / max(np.ptp(at), 1e-9) * len(_PARTS), len(_PARTS) - 1).astype(int)
    for number, name in enumerate(_PARTS):
        _add_quantiles(table, name, lag[part == number])
    table.add_section()
    _add_quantiles(table, "whole time", lag)
    return table


def _add_quantiles(table: Table, name: str, lag: FloatArray) -> None:
    if len(lag):
        table.add_row(name, f"{len(lag):,}", *(f"{np.quantile(lag, share):.0f}" for share in (0.5, 0.99, 1.0)))


def _memory_table(samples: _Samples) -> Table:
    table = Table(title="Resident memory, MB; entries that wait")
    for column in ("after", "feed", "worker", "entries"):
        table.add_column(column, justify="left" if column == "after" else "right")
    n = len(samples.worker_mb)
    for share in (0.1, 0.25, 0.5, 0.75, 1.0):
        at = min(int(n * share), n - 1)
        table.add_row(
            f"{at * _SAMPLE_S:.0f} s",
            f"{samples.feed_mb[at]:.0f}",
            f"{samples.worker_mb[at]:.0f}",
            f"{samples.waiting[at]:,}",
        )
    table.add_section()
    most = (f"{max(samples.feed_mb):.0f}", f"{max(samples.worker_mb):.0f}", f"{max(samples.waiting):,}")
    table.add_row("at most", *most)
    return table


def _count_table(samples: _Samples, rates: list[int], sent: Set[Key], published: Set[Key], found: Finding) -> Table:
    table = Table(title="Counts")
    for column in ("", "number"):
        table.add_column(column, justify="left" if not column else "right")
    feed, worker = samples.feed, samples.worker
    rows = [
        ("second aggregates sent", f"{sum(rates):,}"),
        ("a second, mean", f"{np.mean(rates):,.0f}"),
        ("a second, at most", f"{max(rates):,}"),
        ("minutes sent", f"{len(sent):,}"),
        ("minutes lost or different in the table", f"{len(found.differences):,}"),
        ("minutes not published", f"{len(sent - published):,}"),
        ("feed: events of both, as it showed last", feed["events"]),
        ("feed: messages that waited, at most", feed["queue_deepest"]),
        ("feed: seconds that reading waited", feed["blocked_seconds"]),
        ("feed: from receipt to the stream, p99 of 2,000, ms", feed["stream_p99_ms"]),
        ("worker: bars stored without analysis at first", worker["unanalysed_bars"]),
        ("worker: detections", worker["patterns"]),
    ]
    for name, value in rows:
        table.add_row(name, value)
    return table
