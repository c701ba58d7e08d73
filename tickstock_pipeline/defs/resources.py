"""What assets need from outside, as Dagster resources: thin shells that build plain objects.

Settings come from the environment of the process that runs, never from run config, so that no URL with a password is
stored with a run.
"""

from functools import cached_property

import dagster as dg
import sqlalchemy as sa

from tickstock_pipeline.market.calendar import TradingCalendar, trading_calendar
from tickstock_pipeline.providers.base import HistoricalProvider
from tickstock_pipeline.providers.registry import historical_provider
from tickstock_pipeline.settings import Settings
from tickstock_pipeline.storage.engine import create_engine
from tickstock_pipeline.storage.schema import require_head


class Database(dg.ConfigurableResource):  # type: ignore[type-arg]
    """PostgreSQL that holds bars and analysis."""

    @cached_property
    def engine(self) -> sa.Engine:
        """One pool of connections for the process, on a schema that is known to be this program's."""
        engine = create_engine(Settings.load().database_dsn())
        with engine.connect() as connection:
            require_head(connection)
        return engine


class Market(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The exchange's calendar and the provider of historical bars."""

    @cached_property
    def calendar(self) -> TradingCalendar:
        """Sessions of the exchange."""
        return trading_calendar()

    @cached_property
    def provider(self) -> HistoricalProvider:
        """The configured provider."""
        return historical_provider(Settings.load())


def provider_pool(settings: Settings) -> str | None:
    """The concurrency pool of the runs that ask the provider; None for the sample, whose file has no limit."""
    first = settings.providers[0]
    return None if first == "sample" else f"provider_{first}"
