"""A replay server with real bars: AAPL and IBM of 2005, from the sample, and one share class."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date

import pytest

from tickstock_pipeline.market.adjustment import Dividend, Split
from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.providers.sample import SampleProvider
from tickstock_pipeline.replay.server import ReplayServer
from tickstock_pipeline.replay.source import MemorySource

YEAR = date(2005, 1, 1), date(2005, 12, 31)
# IBM's and Apple's investor relations pages
DIVIDENDS = [Dividend("IBM", date(2005, 2, 8), 0.18), Dividend("IBM", date(2005, 5, 6), 0.20)]
SPLIT = Split("AAPL", date(2005, 2, 28), 2.0)


@pytest.fixture(scope="session")
def bars_of_2005() -> dict[str, Bars]:
    """The sample's daily bars; those of BRK.B are IBM's."""
    sample = SampleProvider()
    found = {symbol: sample.fetch_bars(symbol, Timeframe.DAILY, *YEAR).bars for symbol in ("AAPL", "IBM")}
    return {**found, "BRK.B": replace(found["IBM"], symbol="BRK.B")}


@pytest.fixture(scope="session")
def source(bars_of_2005: dict[str, Bars]) -> MemorySource:
    return MemorySource(bars_of_2005.values(), [SPLIT], DIVIDENDS, {"AAPL": "Apple Inc."})


@pytest.fixture(scope="session")
def shared_server(source: MemorySource) -> Iterator[ReplayServer]:
    with ReplayServer(source) as running:
        yield running


@pytest.fixture
def server(shared_server: ReplayServer) -> ReplayServer:
    """The shared server as new; a test that makes time pass starts one of its own."""
    shared_server.faults.clear()
    shared_server.requests.clear()
    return shared_server
