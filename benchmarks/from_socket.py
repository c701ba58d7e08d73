"""From a message on the provider's socket to an alert; and to the stream, also while the worker is stopped.

The server of ``tickstock replay`` sends; ``tickstock feed`` reads through the official client; ``tickstock worker``
stores, analyses and publishes; PostgreSQL (``fsync`` on) and Redis. Each is a process of its own but for the sender,
which shares ours with the observers: they note when an entry is on its stream and when a bar is published. So a figure
holds the waits of all these processes for their turn.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
from rich.table import Table

from benchmarks.live_stage import Running, live_stage, store_history
from benchmarks.observers import Key, Observer, Seen, by_minute
from chaos.waiting import until
from tickstock_pipeline.market.bar import FloatArray
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.messaging.bar_stream import shard_count
from tickstock_pipeline.replay.live import ReplayStream
from tickstock_pipeline.replay.market import ReplayMarket
from tickstock_pipeline.replay.server import ReplayServer
from tickstock_pipeline.replay.source import MemorySource
from tickstock_pipeline.replay.stream_events import Event, minute_events
from tickstock_pipeline.replay.synthetic import SyntheticSource

SYMBOLS = 1000
HISTORY = (date(2013, 2, 27), date(2013, 2, 28))
SESSION = date(2013, 3, 1)
SINGLE_BARS = 300
BURSTS = 20
A_SECOND = 200
PHASE_S = 10.0

# Between two bars that are to be measured by themselves: what is done after a bar must be over.
_REST_S = 0.05
_SHOWN_S = 2.5

Minutes = list[list[Event]]
"""Of each minute of the session in turn, the event of each symbol."""


def measure() -> list[Table]:
    """All symbols' minute at once, a stream of bars while the worker is stopped, and one bar by itself."""
    with live_stage(_symbols(), _timed_worker) as running, ReplayServer(MemorySource([])) as server:
        coming = _prepared(running)
        running.stage.connect(server.url, server.websocket_url)
        running.start()
        with Observer(running.stage.redis_url, shard_count(running.client)) as observer:
            server.stream.send(coming[0])
            _until_longer(observer.published, SYMBOLS - 1)
            running.until_rest()
            until(lambda: running.worker.get("series_waiting") == "0", "worker that follows all series")
            bursts = _bursts(server.stream, observer, coming[1 : BURSTS + 1])
            flow = _flow(running, server.stream, observer, coming[BURSTS + 1 :])
            running.until_rest()
            os.kill(running.stage.pid("worker"), signal.SIGUSR1)
            single = _single(server.stream, observer, [minute[0] for minute in coming[-SINGLE_BARS:]])
        running.stage.end("worker")
        _add_stages(single, json.loads((running.folder / "stages.json").read_text(encoding="utf-8")))
    return [single, bursts, flow]


def _symbols() -> list[str]:
    return [one.symbol for one in _source().listings()]


def _source() -> SyntheticSource:
    return SyntheticSource(SYMBOLS, HISTORY[0], SESSION)


def _timed_worker(folder: Path) -> dict[str, Sequence[str]]:
    return {"worker": [sys.executable, "-m", "benchmarks.worker_stages", str(folder / "stages.json")]}


def _prepared(running: Running) -> Minutes:
    """Store the sessions before; gives the events of the next."""
    market = ReplayMarket(_source())
    store_history(running, market, *HISTORY)
    events = [minute_events(market.bars_to_come(symbol, Timeframe.MINUTE, SESSION, SESSION)) for symbol in _symbols()]
    return [list(minute) for minute in zip(*events, strict=True)]


def _single(stream: ReplayStream, observer: Observer, events: Sequence[Event]) -> Table:
    sent = {}
    for event in events:
        n_before = len(observer.analysed)
        sent[_key(event)] = time.time()
        stream.send([event])
        _until_longer(observer.analysed, n_before)
        time.sleep(_REST_S)
    table = _table(f"One bar by itself, {len(events)} times: ms after its message was sent", "")
    for name, messages in _ways_out(observer):
        _add(table, name, _taken(sent, messages))
    return table


def _bursts(stream: ReplayStream, observer: Observer, minutes: Minutes) -> Table:
    taken: dict[str, list[float]] = {name: [] for name, _ in _ways_out(observer)}
    for minute in minutes:
        n_before = [len(messages) for _, messages in _ways_out(observer)]
        started = time.time()
        stream.send(minute)
        for (name, messages), count in zip(_ways_out(observer), n_before, strict=True):
            _until_longer(messages, count + len(minute) - 1)
            taken[name].append(messages[count + len(minute) - 1].at - started)
        time.sleep(_REST_S)
    table = _table(f"{SYMBOLS:,} symbols' minute at once, {len(minutes)} times: ms until all are", "")
    for name, seconds in taken.items():
        _add(table, name, np.array(seconds) * 1e3)
    return table


def _ways_out(observer: Observer) -> list[tuple[str, list[Seen]]]:
    return [
        ("on the stream", observer.appended),
        ("committed, and published as a bar", observer.published),
        ("analysed, and published with its patterns", observer.analysed),
    ]


def _flow(running: Running, stream: ReplayStream, observer: Observer, minutes: Minutes) -> Table:
    """Single bars in a steady flow: the worker works, is stopped, and goes on."""
    events = [event for minute in minutes for event in minute]
    n_events = round(PHASE_S * A_SECOND)
    pid = running.stage.pid("worker")
    table = _table(f"{A_SECOND} bars a second, a message each: ms from sent to on the stream", "the worker")
    table.add_column("the feed itself, p99", justify="right")
    for number, (name, order) in enumerate((("works", None), ("is stopped", signal.SIGSTOP), ("goes on", None))):
        n_before = len(observer.appended)
        if order is not None:
            os.kill(pid, order)
        try:
            sent = _sent_steadily(stream, events[number * n_events : (number + 1) * n_events])
            _until_longer(observer.appended, n_before + n_events - 1)
        finally:
            os.kill(pid, signal.SIGCONT)
        # its last 2,000 messages, as it shows them every two seconds
        time.sleep(_SHOWN_S)
        _add(table, f"{name}, {PHASE_S:g} s", _taken(sent, observer.appended), running.feed["stream_p99_ms"])
    return table


def _sent_steadily(stream: ReplayStream, events: Sequence[Event]) -> dict[Key, float]:
    sent = {}
    began = time.monotonic()
    for number, event in enumerate(events):
        time.sleep(max(began + number / A_SECOND - time.monotonic(), 0.0))
        sent[_key(event)] = time.time()
        stream.send([event])
    return sent


def _until_longer(messages: list[Seen], count: int) -> None:
    until(lambda: len(messages) > count, "bar that came through")


def _taken(sent: dict[Key, float], messages: list[Seen]) -> FloatArray:
    """From a minute's message to what came of it, milliseconds."""
    times = by_minute(messages)
    return np.array([times[key] - at for key, at in sent.items()]) * 1e3


def _key(event: Event) -> Key:
    return event.symbol, event.start


def _table(title: str, first: str) -> Table:
    table = Table(title=title)
    for column in (first, "p50", "p95", "p99", "slowest"):
        table.add_column(column, justify="left" if column == first else "right")
    return table


def _add(table: Table, name: str, milliseconds: FloatArray, *more: str) -> None:
    quantiles = (f"{np.quantile(milliseconds, share):.1f}" for share in (0.5, 0.95, 0.99, 1.0))
    table.add_row(name, *quantiles, *more)


def _add_stages(table: Table, spent: dict[str, float]) -> None:
    table.add_section()
    for stage, seconds in spent.items():
        table.add_row(f"  worker, {stage}, mean", f"{seconds / SINGLE_BARS * 1e3:.2f}")
