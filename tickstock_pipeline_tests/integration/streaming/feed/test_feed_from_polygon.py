"""The live feed from the provider's own client on a real socket: nothing lost and nothing doubled, whatever goes wrong."""

from datetime import date
from typing import Any

from tickstock_pipeline.replay.server import ReplayServer

MakeFeed = Any


def test_every_minute_of_a_session_is_on_the_stream_once(make_feed: MakeFeed, server: ReplayServer, minutes: Any) -> None:
    wanted = {(symbol, int(moment)) for symbol, bars in minutes.items() for moment in bars.time.astype("int64")}
    with make_feed() as running:
        server.stream.play(date(2013, 2, 25), date(2013, 2, 25)).wait(20)
        running.until_keys(wanted)

        assert len(running.bars()) == len(wanted)
        first = min(bar for bar in running.bars() if bar.symbol == "AAPL")
        aapl = minutes["AAPL"]
        assert (first.open, first.high, first.low, first.close, first.volume) == (
            *(float(getattr(aapl, name)[0]) for name in ("open", "high", "low", "close")),
            float(aapl.volume[0]),
        )
        assert first.source == "polygon.io"
