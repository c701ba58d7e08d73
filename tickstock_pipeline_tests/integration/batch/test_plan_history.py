"""A plan with less history than the provider has, as the provider's own client and the local server show it."""

from datetime import UTC, date, datetime

import sqlalchemy as sa
from pydantic import SecretStr

from tickstock_pipeline.batch.due_imports import due_days
from tickstock_pipeline.batch.imports import import_bars
from tickstock_pipeline.batch.outcome import Status, failures
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.providers.limits import request_budget
from tickstock_pipeline.providers.polygon import PolygonProvider
from tickstock_pipeline.replay.server import ReplayServer
from tickstock_pipeline.replay.source import MemorySource
from tickstock_pipeline.settings import Settings
from tickstock_pipeline.storage.provenance import read_provenance
from tickstock_pipeline_tests.integration.batch.array_provider import CALENDAR, ArrayProvider, days

BEGINS = date(2020, 7, 1)
# ranges that begin before it
REFUSED = r"/range/1/day/(201\d|2020-0[1-6])"


def test_the_years_that_a_plan_has_are_imported_and_the_others_said_to_be_empty(
    engine: sa.Engine, settings: Settings
) -> None:
    series = [days(symbol, date(2019, 1, 1), date(2021, 12, 31)) for symbol in ("AAPL", "IBM")]
    with ReplayServer(MemorySource(series), api_key="right") as server:
        server.faults.add("403", provider="polygon", path=REFUSED, times=None)
        provider = PolygonProvider(
            base_url=server.url,
            api_key=SecretStr("right"),
            budget=request_budget(settings, "polygon", "plan", 0, 0),
            timeout=20,
        )
        partitions = [Partition(bars.symbol, year) for bars in series for year in (2019, 2020, 2021)]
        now = datetime(2022, 6, 1, 12, tzinfo=UTC)
        outcomes = import_bars(engine, provider, CALENDAR, Timeframe.DAILY, partitions, now=now)

    assert not failures(outcomes)
    with engine.connect() as connection:
        stored = connection.exec_driver_sql("SELECT symbol, min(date), count(*) FROM ohlcv_daily GROUP BY 1 ORDER BY 1")
        n_bars = len(CALENDAR.sessions(BEGINS, date(2021, 12, 31)))
        assert [tuple(row) for row in stored] == [("AAPL", BEGINS, n_bars), ("IBM", BEGINS, n_bars)]
        found = read_provenance(connection, Timeframe.DAILY)
    reason = f"the account's plan at polygon has nothing before {BEGINS}"
    assert [(made.year, made.outcome, made.reason) for made in found.values() if made.symbol == "IBM"] == [
        (2019, "empty", reason),
        (2020, "complete", reason),
        (2021, "complete", None),
    ]


def test_a_day_that_the_plan_does_not_have_yet_counts_as_not_asked_for(engine: sa.Engine) -> None:
    provider = ArrayProvider([days("AAPL", date(2020, 1, 1), date(2021, 12, 31))], reason="the day is not over")
    partitions = [Partition("AAPL", 2020), Partition("AAPL", 2021)]

    # after the first session of 2021, and that evening's newest day is the last one of 2020
    provider.ends = date(2021, 1, 3)
    first = import_bars(
        engine, provider, CALENDAR, Timeframe.DAILY, partitions, now=datetime(2021, 1, 4, 23, tzinfo=UTC)
    )
    with engine.connect() as connection:
        evening = read_provenance(connection, Timeframe.DAILY)
    provider.ends = date(2020, 12, 30)
    import_bars(engine, provider, CALENDAR, Timeframe.DAILY, partitions, now=datetime(2021, 1, 1, 2, tzinfo=UTC))
    with engine.connect() as connection:
        new_year = read_provenance(connection, Timeframe.DAILY)

    assert not failures(first)
    assert [one.requested_through for one in evening.values()] == [date(2020, 12, 31), date(2021, 1, 3)]
    assert [one.outcome for one in evening.values()] == ["complete", "empty"]
    assert new_year[Partition("AAPL", 2020)].requested_through == date(2020, 12, 30)
    assert new_year[Partition("AAPL", 2021)] == evening[Partition("AAPL", 2021)]


def test_a_year_that_has_nothing_yet_is_left_as_it_is(engine: sa.Engine) -> None:
    provider = ArrayProvider([days("AAPL", date(2020, 1, 1), date(2021, 12, 31))], reason="the day is not over")
    provider.ends = date(2020, 12, 31)
    partitions = [Partition("AAPL", 2020), Partition("AAPL", 2021)]

    outcomes = import_bars(
        engine, provider, CALENDAR, Timeframe.DAILY, partitions, now=datetime(2021, 1, 4, 23, tzinfo=UTC)
    )

    assert [(one.status, one.facts.get("note")) for one in outcomes][1] == (Status.UNCHANGED, "the day is not over")
    with engine.connect() as connection:
        assert list(read_provenance(connection, Timeframe.DAILY)) == partitions[:1]


def test_a_day_that_the_plan_does_not_have_yet_is_due_again_after_a_rest(engine: sa.Engine) -> None:
    provider = ArrayProvider([days("AAPL", date(2020, 1, 1), date(2021, 12, 31))])
    this_year = [Partition("AAPL", 2021)]

    def is_due(now: datetime) -> bool:
        with engine.connect() as connection:
            return bool(due_days(connection, provider, CALENDAR, now))

    def asked(now: datetime) -> None:
        import_bars(engine, provider, CALENDAR, Timeframe.DAILY, this_year, now=now)
        with engine.begin() as connection:
            connection.execute(sa.text("UPDATE bar_provenance SET updated_at = :now"), {"now": now})

    # 3 March 2021 closes at 21:00
    asked(datetime(2021, 3, 3, 20, 59, tzinfo=UTC))
    assert is_due(datetime(2021, 3, 3, 21, 30, tzinfo=UTC))
    provider.ends = date(2021, 3, 2)
    asked(datetime(2021, 3, 3, 21, 30, tzinfo=UTC))
    assert not is_due(datetime(2021, 3, 3, 21, 45, tzinfo=UTC))
    assert is_due(datetime(2021, 3, 4, 0, 31, tzinfo=UTC))
    provider.ends = None
    asked(datetime(2021, 3, 4, 6, tzinfo=UTC))
    assert not is_due(datetime(2021, 3, 4, 9, 1, tzinfo=UTC))
