"""Days that the provider lacks are filled from stored minutes, until its own bars come."""

from datetime import date

import numpy as np
import pytest

from tickstock_pipeline.batch.days import import_days
from tickstock_pipeline.batch.outcome import Outcome, Status
from tickstock_pipeline.errors import UnknownSymbolError
from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline_tests.integration.batch.array_provider import CALENDAR, ArrayProvider, days, minutes
from tickstock_pipeline_tests.integration.batch.import_runs import FIRST, LAST, NOW, partitions, provenance, run, scalar


def test_days_that_the_provider_lacks_are_filled_from_minutes_and_its_own_bar_takes_their_place(engine):
    march = (date(2021, 3, 8), date(2021, 3, 12))
    of_minutes = minutes("A", *march)
    run(engine, ArrayProvider([of_minutes]), partitions("A", years=(2021,)), Timeframe.MINUTE)
    all_days = days("A", *march, seed=5)
    without_wednesday = all_days[np.array([0, 1, 3, 4])]

    def import_from(series: Bars):
        return import_days(engine, ArrayProvider([series]), CALENDAR, partitions("A", years=(2021,)), now=NOW)

    def sources():
        with engine.connect() as connection:
            return [source for (source,) in connection.exec_driver_sql("SELECT source FROM ohlcv_daily ORDER BY date")]

    (outcome,) = import_from(without_wednesday)

    assert sources() == ["array", "array", "derived:1min", "array", "array"]
    assert (outcome.status, outcome.facts["bars"], outcome.facts["bars_from_minutes"]) == (Status.WRITTEN, 5, 1)
    row = provenance(engine)[Partition("A", 2021)]
    assert (row.source, row.n_bars, row.n_provisional) == ("array", 4, 1)
    wednesday = of_minutes[of_minutes.time.astype("datetime64[D]") == np.datetime64("2021-03-10")]
    assert scalar(engine, "SELECT volume FROM ohlcv_daily WHERE source <> 'array'") == wednesday.volume.sum()

    import_from(all_days)
    assert sources() == ["array"] * 5
    assert provenance(engine)[Partition("A", 2021)].n_provisional == 0
    assert scalar(engine, "SELECT close FROM ohlcv_daily WHERE date = '2021-03-10'") == all_days.close[2]
    import_from(without_wednesday)
    assert sources() == ["array"] * 5


def test_a_symbol_is_reported_once_its_days_are_filled_from_minutes_too(engine):
    run(engine, ArrayProvider([minutes("A", date(2021, 3, 8), date(2021, 3, 9))]), partitions("A", years=(2021,)),
        Timeframe.MINUTE)  # fmt: skip
    lacking = ArrayProvider([days("A", date(2021, 3, 8), date(2021, 3, 8))])

    def killed_here(symbol: str, outcomes: list[Outcome]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_days(engine, lacking, CALENDAR, partitions("A", years=(2021,)), now=NOW, on_symbol=killed_here)

    assert scalar(engine, "SELECT array_agg(source ORDER BY date) FROM ohlcv_daily") == ["array", "derived:1min"]


def test_unknown_symbols_with_stored_minutes_still_get_their_days(engine):
    run(engine, ArrayProvider([minutes("A", date(2021, 3, 8), date(2021, 3, 9))]), partitions("A", years=(2021,)),
        Timeframe.MINUTE)  # fmt: skip
    provider = ArrayProvider([days("B", FIRST, LAST)])
    provider.before_answer = lambda symbol: (_ for _ in ()).throw(UnknownSymbolError("no A here"))

    (outcome,) = import_days(engine, provider, CALENDAR, partitions("A", years=(2021,)), now=NOW)

    assert (outcome.status, outcome.error) == (Status.FAILED, "no A here")
    assert scalar(engine, "SELECT count(*) FROM ohlcv_daily WHERE source = 'derived:1min'") == 2
    row = provenance(engine)[Partition("A", 2021)]
    assert (row.outcome, row.error, row.n_provisional) == ("failed", "no A here", 2)
