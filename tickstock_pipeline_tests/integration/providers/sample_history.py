"""What the replay server has where a test says nothing else: the sample, whole and as traded."""

from datetime import UTC, date, datetime

from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.providers.sample import SampleProvider

FIRST, LAST = date(2000, 3, 1), date(2013, 3, 1)
NOW = datetime(2013, 3, 2, 12, tzinfo=UTC)


def raw(first: date = FIRST, last: date = LAST) -> Bars:
    """Days of AAPL."""
    return SampleProvider().fetch_bars("AAPL", Timeframe.DAILY, first, last).bars
