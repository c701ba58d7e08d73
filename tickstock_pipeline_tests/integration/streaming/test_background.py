"""What is done between batches: in slices, so that a bar that comes meanwhile does not wait for all of it."""

import itertools
import time

import redis
import sqlalchemy as sa

from tickstock_pipeline.messaging.bar_stream import BarStream
from tickstock_pipeline.streaming.background import SLICE_S, Background
from tickstock_pipeline.streaming.breaker import Breaker
from tickstock_pipeline.streaming.publisher import Publisher
from tickstock_pipeline.streaming.vital_signs import Tally
from tickstock_pipeline_tests.integration.streaming.conftest import UNLIMITED, MakeWorker, feed, live, minutes, table

SYMBOLS = 60


def test_a_slice_ends_when_its_time_is_over_however_many_series_wait(
    engine: sa.Engine, client: "redis.Redis", stream: BarStream, make_worker: MakeWorker
) -> None:
    worker = make_worker()
    for number in range(SYMBOLS):
        feed(stream, live(minutes(f"S{number:02d}", "2026-03-02", "2026-03-02")[:2]))
    worker.take_bars()
    book = worker.desk.book
    assert book.n_waiting == SYMBOLS
    steps = itertools.count()
    background = Background(
        worker.desk,
        Publisher(client, kept_events=1_000),
        Breaker(UNLIMITED, time.monotonic),
        Tally(),
        # six looks at the clock are a slice
        clock=lambda: next(steps) * SLICE_S / 6,
    )
    waiting = [book.n_waiting]
    while book.n_waiting:
        background.work()
        waiting.append(book.n_waiting)
    assert len(waiting) > 3
    assert all(before > after for before, after in itertools.pairwise(waiting))
    assert table(engine, "SELECT count(*) FROM live_backlog WHERE timeframe = '1min'") == [(0,)]
