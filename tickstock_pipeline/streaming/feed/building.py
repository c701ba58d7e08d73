"""A feed as the settings describe it."""

from collections.abc import Callable

import sqlalchemy as sa

from tickstock_pipeline.errors import SettingsError
from tickstock_pipeline.market.calendar import TradingCalendar
from tickstock_pipeline.messaging.connection import connect
from tickstock_pipeline.providers.base import HistoricalProvider
from tickstock_pipeline.providers.registry import historical_provider, market_question, polygon_key, provider_of
from tickstock_pipeline.settings import Settings
from tickstock_pipeline.streaming.feed.consumer_channel import ConsumerChannel
from tickstock_pipeline.streaming.feed.feed import Feed, Symbols
from tickstock_pipeline.streaming.feed.inserted_rows import InsertedRows, opening_of_last_session, since_last_session
from tickstock_pipeline.streaming.feed.options import FeedOptions
from tickstock_pipeline.streaming.feed.polygon_events import PolygonSource
from tickstock_pipeline.streaming.feed.source import LiveSource

SourceBuilder = Callable[[Settings, sa.Engine, TradingCalendar], LiveSource]


def build_feed(
    settings: Settings,
    engine: sa.Engine,
    calendar: TradingCalendar,
    symbols: Symbols,
    *,
    source: str | None = None,
    options: FeedOptions | None = None,
) -> Feed:
    """Build a feed; to be called in its event loop.

    Parameters
    ----------
    settings : with the URLs of a database and of Redis
    engine : whose application name marks our own writes
    source : name of the live source; None: that of the settings

    Raises
    ------
    SettingsError
        If no live source is configured, or what it needs is not set.
    """
    name = source or settings.live
    if name == "none":
        raise SettingsError(
            "No source of live bars is configured.",
            advice="Set TICKSTOCK_POLYGON_API_KEY for Polygon/Massive, or TICKSTOCK_LIVE_SOURCE to redis or database. "
            "To try it without an account: `tickstock replay --from 2013-02-25`, and here TICKSTOCK_POLYGON_STREAM_URL="
            "ws://127.0.0.1:8765, TICKSTOCK_POLYGON_URL=http://127.0.0.1:8765 and any key.",
        )
    # a stored bar has no gap to fill, and nobody to stand in for it
    is_ours = name == "polygon"
    return Feed(
        _BUILDERS[name](settings, engine, calendar),
        symbols,
        (connect(settings.redis_dsn()), connect(settings.redis_dsn())),
        engine,
        calendar,
        history=historical_provider(settings) if name != "database" else None,
        stand_in=_stand_in(settings) if is_ours else None,
        ask_market=market_question(settings) if is_ours else None,
        options=options,
    )


def _polygon(settings: Settings, engine: sa.Engine, calendar: TradingCalendar) -> LiveSource:
    return PolygonSource(
        settings.polygon_stream_url,
        polygon_key(settings),
        with_seconds=settings.live_seconds,
        traded=[symbol.strip().upper() for symbol in (settings.live_trades or "").split(",") if symbol.strip()],
        with_quotes=settings.live_quotes,
    )


def _redis(settings: Settings, engine: sa.Engine, calendar: TradingCalendar) -> LiveSource:
    return ConsumerChannel(settings.redis_dsn())


def _database(settings: Settings, engine: sa.Engine, calendar: TradingCalendar) -> LiveSource:
    return InsertedRows(engine, since_last_session(calendar), opening_of_last_session(calendar))


_BUILDERS: dict[str, SourceBuilder] = {"polygon": _polygon, "redis": _redis, "database": _database}


def _stand_in(settings: Settings) -> HistoricalProvider | None:
    names = settings.live_stand_in.split(",")
    return None if names == ["none"] else provider_of(settings, names)
