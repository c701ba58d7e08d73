"""The replay server's source of bars that are already in our own tables."""

from datetime import date

import numpy as np
import sqlalchemy as sa

from tickstock_pipeline.errors import UnknownSymbolError
from tickstock_pipeline.market.adjustment import Dividend, Split
from tickstock_pipeline.market.bar import Bars, empty_bars
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.providers.base import Listing
from tickstock_pipeline.replay.source import between
from tickstock_pipeline.storage.bars import read_bars
from tickstock_pipeline.storage.dividends import read_dividends
from tickstock_pipeline.storage.splits import read_splits
from tickstock_pipeline.storage.tables import BAR_LEDGER, SYMBOLS


class StoredSource:
    """Daily bars and minutes of our tables, as they are at the moment of each request.

    Parameters
    ----------
    engine : to the database (see ``storage.engine``)
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def listings(self) -> tuple[Listing, ...]:
        """The symbols that have daily bars or minutes, in the order of the symbols' table, then by name."""
        ledger = BAR_LEDGER.c
        name = sa.func.coalesce(SYMBOLS.c.name, ledger.symbol)
        query = (
            sa.select(ledger.symbol, name, sa.func.min(ledger.first_time), sa.func.max(ledger.last_time))
            .select_from(BAR_LEDGER.outerjoin(SYMBOLS, SYMBOLS.c.symbol == ledger.symbol))
            .where(ledger.timeframe.in_([Timeframe.DAILY, Timeframe.MINUTE]), ledger.n_bars > 0)
            .group_by(ledger.symbol, name, SYMBOLS.c.position)
            .order_by(sa.nulls_last(SYMBOLS.c.position.asc()), ledger.symbol)
        )
        with self._engine.connect() as connection:
            return tuple(
                Listing(symbol, shown, first.date(), last.date())
                for symbol, shown, first, last in connection.execute(query)
            )

    def bars(self, symbol: str, timeframe: Timeframe, first: date, last: date) -> Bars:
        """See :meth:`BarSource.bars`."""
        # in UTC a session's minutes have the session's date, extended hours may reach into the next
        until = np.datetime64(last) if timeframe is Timeframe.DAILY else np.datetime64(last) + 2
        with self._engine.connect() as connection:
            found = read_bars(connection, timeframe, [symbol], first, until).get(symbol)
            if found is None:
                known = sa.select(BAR_LEDGER.c.symbol).where(BAR_LEDGER.c.symbol == symbol).limit(1)
                if connection.execute(known).first() is None:
                    raise UnknownSymbolError(f"The tables have no bars of {symbol!r}.")
                return empty_bars(symbol, timeframe)
        return between(found, first, last)

    def splits(self, symbol: str) -> tuple[Split, ...]:
        """See :meth:`BarSource.splits`."""
        with self._engine.connect() as connection:
            return read_splits(connection, [symbol])[symbol]

    def dividends(self, symbol: str) -> tuple[Dividend, ...]:
        """See :meth:`BarSource.dividends`."""
        with self._engine.connect() as connection:
            return read_dividends(connection, [symbol])[symbol]
