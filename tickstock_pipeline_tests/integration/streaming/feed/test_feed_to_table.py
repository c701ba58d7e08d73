"""From the provider's socket into the table, by a feed and a worker, with faults on the way."""

from collections.abc import Callable
from datetime import date
from typing import Any

import sqlalchemy as sa

from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.replay.server import ReplayServer
from tickstock_pipeline.storage.bars import read_bars

SESSION = date(2013, 2, 25)


def test_the_table_holds_exactly_what_the_provider_has(
    make_feed: Callable[..., Any],
    make_worker: Callable[..., Any],
    server: ReplayServer,
    minutes: dict[str, Bars],
    history: Any,
    engine: sa.Engine,
) -> None:
    worker = make_worker()
    for kind in ("duplicates", "out-of-order", "late", "corrected"):
        server.faults.add(kind, provider="stream", path="AM", times=None, rate=0.1)
    with make_feed(history=history) as running:
        running.until_connected()
        running.until(lambda: running.feed.gaps.filling.answers == 3, "the first fill")
        server.faults.add("cut", provider="stream", path="frame", nth=100)
        playing = server.stream.play(SESSION, SESSION)

        def is_stored() -> bool:
            worker.turn()
            with engine.connect() as connection:
                stored = read_bars(connection, Timeframe.MINUTE, list(minutes))
            return playing.is_over and all(
                (getattr(stored.get(symbol, bars[:0]), name).tolist() == getattr(bars, name).tolist())
                for symbol, bars in minutes.items()
                for name in ("time", "open", "high", "low", "close", "volume")
            )

        running.until(is_stored, "a table like the provider's")
        assert running.feed.state.connections == 2
