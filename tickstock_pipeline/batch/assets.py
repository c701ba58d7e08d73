"""Names of the assets, where both the definitions and their clients can see them."""

from tickstock_pipeline.market.timeframe import Timeframe


def bars_asset(timeframe: Timeframe) -> str:
    """The asset of a timeframe's bars; its name is the table's."""
    return f"ohlcv_{timeframe}"


def indicators_asset(timeframe: Timeframe) -> str:
    """The asset of a timeframe's indicator values."""
    return f"indicators_{timeframe}"


def patterns_asset(timeframe: Timeframe) -> str:
    """The asset of a timeframe's detected patterns."""
    return f"patterns_{timeframe}"
