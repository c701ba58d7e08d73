"""Minutes that another program stores in the table: analysed, told of, and the same as in a batch."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import psycopg2
import pytest
import redis
import sqlalchemy as sa
from psycopg2.extras import execute_values

from tickstock_pipeline.market.bar import Bars, joined
from tickstock_pipeline.messaging.bar_event import LiveBar
from tickstock_pipeline.messaging.bar_stream import VIA_DATABASE, BarStream
from tickstock_pipeline_tests.integration.streaming.as_batch import (
    NOTHING_LEFT,
    analyse_as_batch,
    assert_same,
    contents,
    left_for_batch,
)
from tickstock_pipeline_tests.integration.streaming.conftest import MakeWorker, live, minutes, table, until_idle
from tickstock_pipeline_tests.integration.streaming.test_events import Ear, doji_at

Store = Callable[[Sequence[LiveBar]], None]

CHANNELS = (
    "tickstock.events.patterns",
    "tickstock.events.patterns.retracted",
    "tickstock:events:analysis_complete",
    "tickstock_data",
)


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """Stores bars as another program does; a bar that is stored already gets the new values."""
    connection = psycopg2.connect(database_url, application_name="TickStockAppV2")
    connection.autocommit = True

    def write(bars: Sequence[LiveBar]) -> None:
        with connection.cursor() as cursor:
            execute_values(
                cursor,
                'INSERT INTO ohlcv_1min (symbol, "timestamp", open, high, low, close, volume, source) VALUES %s'
                ' ON CONFLICT (symbol, "timestamp") DO UPDATE SET open = excluded.open, high = excluded.high,'
                " low = excluded.low, close = excluded.close, volume = excluded.volume",
                [(one.symbol, one.time, *one[3:7], int(one.volume), "test") for one in bars],
                "(%s, to_timestamp(%s / 1e6), %s, %s, %s, %s, %s, %s)",
            )

    yield write
    connection.close()


@pytest.fixture
def ear(client: "redis.Redis") -> Iterator[Ear]:
    found = Ear(client, *CHANNELS)
    yield found
    found.close()


def of_channel(heard: Sequence[tuple[str, dict[str, Any]]], channel: str) -> list[dict[str, Any]]:
    return [event for name, event in heard if name == channel]


def coverage(engine: sa.Engine) -> list[Any]:
    return table(engine, "SELECT symbol, n_bars, stale_from FROM analysis_coverage WHERE timeframe = '1min' ORDER BY 1")


def test_inserted_minutes_are_analysed_at_once_and_published_but_not_as_bars_of_ours(
    engine: sa.Engine, stream: BarStream, make_worker: MakeWorker, store: Store, ear: Ear
) -> None:
    bars = live(minutes("AAPL", "2026-03-02", "2026-03-02")[:80])
    worker = make_worker()
    store(bars[:50])
    stream.append(bars[:50], via=VIA_DATABASE)
    worker.turn()
    until_idle(worker)
    n_left = worker.signs.tally.unanalysed_bars
    for bar in bars[50:]:
        store([bar])
        stream.append([bar], via=VIA_DATABASE)
        worker.take_bars()
        assert coverage(engine) == [("AAPL", bars.index(bar) + 1, None)]
        assert not worker.desk.book.n_waiting
    until_idle(worker)
    assert (n_left, worker.signs.tally.unanalysed_bars) == (0, 0)
    heard = ear.heard()
    complete = of_channel(heard, "tickstock:events:analysis_complete")
    assert [one["timeframe"] for one in complete].count("1min") == 80
    assert len(of_channel(heard, "tickstock.events.patterns")) > 5
    assert of_channel(heard, "tickstock_data") == []
    assert len(table(engine, "SELECT 1 FROM bar_indicators WHERE timeframe = '1min'")) == 80


def test_inserted_and_changed_minutes_end_as_in_batch(
    engine: sa.Engine, second_engine: sa.Engine, stream: BarStream, make_worker: MakeWorker, store: Store
) -> None:
    days = [minutes("AAPL", "2026-02-27", "2026-02-27"), minutes("AAPL", "2026-03-02", "2026-03-02", seed=2)]
    series = [joined([days[0][-70:], days[1][:65]]), minutes("MSFT", "2026-03-02", "2026-03-02")[:65]]
    random = np.random.default_rng(5)
    together = sorted((bar for bars in series for bar in live(bars)), key=lambda bar: bar.time)
    worker = make_worker()
    start = 0
    while start < len(together):
        portion = together[start : (start := start + int(random.integers(1, 5)))]
        first = [
            one._replace(close=one.open, volume=one.volume + 1) if random.random() < 0.3 else one for one in portion
        ]
        for wave in (first, portion, portion if random.random() < 0.2 else []):
            if wave:
                store(wave)
                stream.append(wave, via=VIA_DATABASE)
                if random.random() < 0.7:
                    worker.turn()
        if random.random() < 0.05:
            worker.close()
            worker = make_worker(f"after-{start}")
    late = [bar for bar in together if random.random() < 0.05]
    store([bar._replace(volume=bar.volume + 7) for bar in late])
    stream.append(late, via=VIA_DATABASE)
    until_idle(worker)
    store(late)
    stream.append(late, via=VIA_DATABASE)
    until_idle(worker)
    worker.desk.open_periods.grace_s = 0.0
    until_idle(worker)
    assert [row[1:] for row in coverage(engine)] == [(135, None), (65, None)]
    analyse_as_batch(second_engine, series)
    assert_same(contents(engine), contents(second_engine))
    for timeframe in ("1min", "hourly", "daily"):
        assert left_for_batch(engine)[f"analysis {timeframe}"] == []


def test_minutes_inserted_one_by_one_leave_nothing_to_a_batch(
    engine: sa.Engine, stream: BarStream, make_worker: MakeWorker, store: Store
) -> None:
    worker = make_worker()
    for bar in live(minutes("AAPL", "2026-03-02", "2026-03-02")[:70]):
        store([bar])
        stream.append([bar], via=VIA_DATABASE)
        worker.turn()
    until_idle(worker)
    worker.desk.open_periods.grace_s = 0.0
    until_idle(worker)
    assert left_for_batch(engine) == NOTHING_LEFT


@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_repeated_notice_publishes_nothing_again(
    stream: BarStream, make_worker: MakeWorker, store: Store, ear: Ear, is_restarted: bool
) -> None:
    bars = live(minutes("AAPL", "2026-03-02", "2026-03-02")[:60])
    worker = make_worker()
    store(bars)
    stream.append(bars, via=VIA_DATABASE)
    worker.turn()
    until_idle(worker)
    assert len(of_channel(ear.heard(), "tickstock:events:analysis_complete")) >= 60
    if is_restarted:
        worker.close()
        worker = make_worker("two")
    stream.append(bars, via=VIA_DATABASE)
    worker.turn()
    until_idle(worker)
    # hours close by the clock, whenever it is
    assert [event for _, event in ear.heard() if event.get("data", event)["timeframe"] == "1min"] == []


@pytest.mark.parametrize("at", [59, 57, 25])
def test_an_update_takes_a_detection_back_and_brings_it_again_with_the_next_revision(
    engine: sa.Engine, stream: BarStream, make_worker: MakeWorker, store: Store, ear: Ear, at: int
) -> None:
    bars: Bars = minutes("AAPL", "2026-03-02", "2026-03-02")[:60]
    worker = make_worker()
    first = live(doji_at(bars, at, is_doji=True))
    for bar in first:
        store([bar])
        stream.append([bar], via=VIA_DATABASE)
        worker.turn()
    until_idle(worker)
    ear.heard()
    found = []
    for is_doji in (False, True):
        changed = live(doji_at(bars, at, is_doji=is_doji))[at : at + 1]
        store(changed)
        stream.append(changed, via=VIA_DATABASE)
        worker.turn()
        until_idle(worker)
        heard = ear.heard()
        complete = of_channel(heard, "tickstock:events:analysis_complete")
        assert [one["timeframe"] for one in complete].count("1min") == 1
        found += [
            (event["event_type"], event["data"].get("revision"))
            for channel, event in heard
            if channel.startswith("tickstock.events.patterns")
            and event["data"]["pattern"] == "doji"
            and event["data"]["timestamp"] == first[at].time / 1e6
        ]
        assert coverage(engine) == [("AAPL", 60, None)]
    assert [kind for kind, _ in found] == ["pattern_retracted", "pattern_detected"]
    assert found[1][1] == 2


def test_a_notice_that_came_late_does_not_bring_old_values_or_deleted_bars_back(
    engine: sa.Engine, stream: BarStream, make_worker: MakeWorker, store: Store
) -> None:
    bars = live(minutes("AAPL", "2026-03-02", "2026-03-02")[:12])
    worker = make_worker()
    store(bars)
    with engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM ohlcv_1min WHERE extract(minute FROM timestamp) = 35"))
    stream.append([bar._replace(volume=1.0) for bar in bars], via=VIA_DATABASE)
    worker.turn()
    until_idle(worker)
    stored = table(engine, "SELECT volume FROM ohlcv_1min ORDER BY timestamp")
    assert [row[0] for row in stored] == [int(bar.volume) for at, bar in enumerate(bars) if at != 5]
    assert coverage(engine) == [("AAPL", 11, None)]


def test_a_bar_of_ours_that_repeats_an_inserted_one_does_not_hide_it(
    engine: sa.Engine, stream: BarStream, make_worker: MakeWorker, store: Store, ear: Ear
) -> None:
    bars = live(minutes("AAPL", "2026-03-02", "2026-03-02")[:10])
    worker = make_worker()
    store(bars)
    stream.append(bars, via=VIA_DATABASE)
    stream.append(bars[:4])
    worker.turn()
    until_idle(worker)
    complete = of_channel(ear.heard(), "tickstock:events:analysis_complete")
    assert [one["timeframe"] for one in complete].count("1min") == 10
    assert coverage(engine) == [("AAPL", 10, None)]
