"""``tickstock feed``: live minutes from a source to the streams, until it is asked to stop."""

import asyncio
import logging
import signal
from enum import StrEnum
from typing import Annotated

import sqlalchemy as sa
import typer

from tickstock_pipeline.cli.terminal import err
from tickstock_pipeline.errors import AlreadyRunningError
from tickstock_pipeline.market.calendar import trading_calendar
from tickstock_pipeline.market.symbol import normalise_symbol
from tickstock_pipeline.runtime.attach import attached_settings
from tickstock_pipeline.settings import Settings
from tickstock_pipeline.storage.engine import create_engine
from tickstock_pipeline.storage.schema import require_head
from tickstock_pipeline.storage.symbols import read_symbols
from tickstock_pipeline.storage.universes import resolve_universe
from tickstock_pipeline.streaming.feed.building import build_feed
from tickstock_pipeline.streaming.feed.feed import Symbols

EXAMPLES = """Examples:

tickstock feed

tickstock feed --symbols AAPL,MSFT

tickstock feed --source redis --universe SPY

kill -HUP PID   # look at the symbols again, at once
"""

_LOG_FORMAT = "%(asctime)s %(levelname)s %(message)s"


class Source(StrEnum):
    """The live sources."""

    POLYGON = "polygon"
    REDIS = "redis"
    DATABASE = "database"


def feed(
    source: Annotated[
        Source | None, typer.Option(help="Where live bars come from. Default: TICKSTOCK_LIVE_SOURCE.")
    ] = None,
    symbols: Annotated[
        str, typer.Option(metavar="A,B,…", help="Whose bars. Default: all registered symbols.", show_default=False)
    ] = "",
    universe: Annotated[
        str, typer.Option(metavar="KEY", help="The members of a universe, such as SPY.", show_default=False)
    ] = "",
) -> None:
    """Take live bars from a source to the workers; runs until it is asked to stop (Ctrl-C or SIGTERM).

    It keeps the connection up, fills what was missed, and lets another provider stand in. Symbols that are registered
    or put into the universe while it runs are taken up within half a minute, or at once after SIGHUP. A second feed
    stands by until the first one ends, and so does one that was held up until another took over.
    """
    settings = attached_settings(Settings.load())
    logging.basicConfig(level=settings.log_level, format=_LOG_FORMAT)
    engine = create_engine(settings.database_dsn(), application_name="tickstock-feed", pool_size=4)
    try:
        with engine.connect() as connection:
            require_head(connection)
        asyncio.run(_run(settings, engine, source, _wanted(settings, engine, symbols, universe)))
    finally:
        engine.dispose()


async def _run(settings: Settings, engine: sa.Engine, source: Source | None, symbols: Symbols) -> None:
    name = None if source is None else source.value
    err.print(f"Feeding from {name or settings.live}. Ctrl-C stops it.")
    n_bars = 0
    loop = asyncio.get_running_loop()
    while True:
        live = build_feed(settings, engine, trading_calendar(), symbols, source=name)
        running = asyncio.create_task(live.run())
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, running.cancel)
        loop.add_signal_handler(signal.SIGHUP, live.look_again)
        try:
            await running
        except AlreadyRunningError as error:
            err.print(f"{error.message} It stands by from here on.", soft_wrap=True)
        except asyncio.CancelledError:
            err.print(f"Stopped after {n_bars + live.writer.written.bars:,} bars.")
            return
        n_bars += live.writer.written.bars


def _wanted(settings: Settings, engine: sa.Engine, symbols: str, universe: str) -> Symbols:
    if symbols and universe:
        raise typer.BadParameter("give symbols or a universe, not both", param_hint="--universe")
    if symbols:
        try:
            chosen = [normalise_symbol(symbol) for symbol in symbols.split(",") if symbol.strip()]
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--symbols") from None
        return lambda: chosen

    def read() -> list[str]:
        with engine.connect() as connection:
            if universe:
                return list(resolve_universe(connection, settings.universe_folder, universe).symbols)
            return read_symbols(connection)

    if not read():
        err.print("No symbol is registered yet: the feed waits for one. `tickstock universe load FILE --register`.")
    return read
