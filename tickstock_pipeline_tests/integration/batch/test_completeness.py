"""Which sessions are said to be complete, and which are gaps and why."""

import time
from datetime import UTC, date, datetime

import numpy as np
import pytest
import sqlalchemy as sa

from tickstock_pipeline.batch.completeness import SymbolCompleteness, completeness
from tickstock_pipeline.batch.days import import_days
from tickstock_pipeline.batch.imports import import_bars
from tickstock_pipeline.batch.roll_ups import roll_up_bars
from tickstock_pipeline.batch.standing import Standing
from tickstock_pipeline.errors import ProviderUnavailableError
from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.bars import write_bars
from tickstock_pipeline.storage.provenance import Provenance, record_provenance
from tickstock_pipeline_tests.integration.batch.array_provider import CALENDAR, ArrayProvider, days, minutes

NOW = datetime(2022, 1, 31, 12, tzinfo=UTC)
YEAR = [Partition("A", 2021)]
MARCH = (date(2021, 3, 1), date(2021, 3, 31))
WEEK = (date(2021, 3, 8), date(2021, 3, 12))


def judged(engine: sa.Engine, timeframe: Timeframe = Timeframe.DAILY, *arguments, **more) -> list[SymbolCompleteness]:
    with engine.connect() as connection:
        return completeness(connection, CALENDAR, timeframe, *arguments, **({"now": NOW} | more))


def counts(one: SymbolCompleteness) -> dict[str, int]:
    return {standing.name.lower(): count for standing, count in one.counts.items() if count}


def gaps(one: SymbolCompleteness) -> list[str]:
    return [gap.describe() for gap in one.gaps]


def import_series(engine: sa.Engine, series: Bars, partitions=YEAR, **more) -> None:
    provider = ArrayProvider([series])
    import_bars(engine, provider, CALENDAR, series.timeframe, partitions, **({"now": NOW} | more))


def without(bars: Bars, *days_: str) -> Bars:
    return bars[~np.isin(bars.time.astype("datetime64[D]"), np.array(days_, "datetime64[D]"))]


def test_a_year_with_every_bar_is_complete_and_no_bar_is_read_to_say_so(engine):
    import_series(engine, days("A", date(2021, 1, 1), date(2021, 12, 31)))

    queries = []
    sa.event.listen(engine, "before_cursor_execute", lambda *a: queries.append(a[2]))
    (one,) = judged(engine)

    assert (counts(one), one.bars, gaps(one)) == ({"complete": 252}, 252, [])
    assert (one.first, one.last) == (date(2021, 1, 1), date(2021, 12, 31))
    assert not any("ohlcv" in query for query in queries)


def test_days_before_a_listing_are_empty_and_no_gap_and_a_hole_is_one(engine):
    import_series(engine, without(days("A", date(2021, 3, 1), date(2021, 11, 30)), "2021-06-15", "2021-06-16"))

    (one,) = judged(engine)

    outside = len(CALENDAR.sessions(date(2021, 1, 1), date(2021, 2, 28))) + len(
        CALENDAR.sessions(date(2021, 12, 1), date(2021, 12, 31))
    )
    assert counts(one) == {"complete": 252 - outside - 2, "empty": outside + 2}
    assert gaps(one) == ["2021-06-15 to 2021-06-16: empty at the provider"]
    assert not one.gaps[0].can_be_imported


def test_a_failed_year_is_failed_with_the_providers_reason_and_what_was_fetched_before_is_not(engine):
    provider = ArrayProvider([days("A", date(2020, 1, 1), date(2021, 12, 31))])
    provider.before_answer = lambda symbol: (_ for _ in ()).throw(ProviderUnavailableError("no answer"))
    import_bars(engine, provider, CALENDAR, Timeframe.DAILY, [Partition("A", 2020)], now=NOW)
    import_series(engine, days("A", date(2021, 1, 1), date(2021, 6, 30)), now=datetime(2021, 7, 1, tzinfo=UTC))
    import_bars(engine, provider, CALENDAR, Timeframe.DAILY, YEAR, now=NOW)

    (one,) = judged(engine)

    assert counts(one) == {"complete": 124, "failed": 253 + 128}
    assert gaps(one) == [
        "2020-01-02 to 2020-12-31: failed (no answer)",
        "2021-07-01 to 2021-12-31: failed (no answer)",
    ]


def test_years_between_that_nobody_asked_for_are_not_asked(engine):
    import_series(engine, days("A", date(2019, 1, 1), date(2021, 12, 31)), [Partition("A", 2019), Partition("A", 2021)])

    (one,) = judged(engine)

    assert counts(one) == {"complete": 252 + 252, "not_asked": 253}
    assert gaps(one) == ["2020-01-02 to 2020-12-31: not asked"]


def test_a_quarantined_day_is_failed_with_the_rule_and_complete_once_it_is_mended(engine):
    broken = days("A", date(2021, 1, 1), date(2021, 12, 31))
    broken.low[100] = broken.high[100] + 1
    import_series(engine, broken)

    (one,) = judged(engine)
    day = str(broken.time[100].astype("datetime64[D]"))
    assert gaps(one) == [f"{day}: failed (quarantined: high is below low)"]

    import_series(engine, days("A", date(2021, 1, 1), date(2021, 12, 31)))
    assert gaps(judged(engine)[0]) == []


def test_a_session_whose_minutes_traded_rarely_is_complete_if_the_whole_answer_is_stored(engine):
    of_march = minutes("A", *MARCH)
    few = of_march[::7]
    import_series(engine, without(few, "2021-03-10"))

    (one,) = judged(engine, Timeframe.MINUTE)

    outside = len(CALENDAR.sessions(date(2021, 1, 1), date(2021, 12, 31))) - 23
    assert counts(one) == {"complete": 22, "empty": outside + 1}
    assert gaps(one) == ["2021-03-10: empty at the provider"]


def test_minutes_that_have_gone_since_make_their_session_partial(engine):
    import_series(engine, minutes("A", *MARCH)[::7])
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "DELETE FROM ohlcv_1min WHERE timestamp BETWEEN '2021-03-10 15:00Z' AND '2021-03-10 16:00Z'"
        )

    (one,) = judged(engine, Timeframe.MINUTE)

    assert gaps(one) == ["2021-03-10: partial (bars that the provider gave are not stored any more)"]


def test_minutes_written_live_are_complete_if_none_is_missing_and_partial_until_the_provider_is_asked(engine):
    import_series(engine, minutes("A", *WEEK), now=datetime(2021, 3, 10, tzinfo=UTC))
    live = minutes("A", date(2021, 3, 10), date(2021, 3, 12))
    with engine.begin() as connection:
        write_bars(connection, [live[np.r_[0:390, 390:500, 510:780, 780:1170]]], "live")

    (one,) = judged(engine, Timeframe.MINUTE)
    assert gaps(one) == ["2021-03-11: partial (the provider was not asked for what is missing)"]
    assert counts(one) == {"complete": 4, "partial": 1, "empty": 43}

    import_series(engine, without(live, "2021-03-12"), now=datetime(2021, 3, 12, tzinfo=UTC))
    (one,) = judged(engine, Timeframe.MINUTE)
    assert gaps(one) == []


def test_a_half_day_is_complete_with_its_own_number_of_minutes(engine):
    with engine.begin() as connection:
        write_bars(connection, [minutes("A", date(2021, 11, 26), date(2021, 11, 26))], "live")

    (one,) = judged(engine, Timeframe.MINUTE, None, date(2021, 11, 26), date(2021, 11, 26))

    assert (counts(one), one.bars) == ({"complete": 1}, 210)


def test_days_that_only_minutes_cover_count_as_complete_and_provisional(engine):
    import_series(engine, minutes("A", *WEEK))
    provider = ArrayProvider([without(days("A", *WEEK), "2021-03-10")])
    import_days(engine, provider, CALENDAR, YEAR, now=NOW)

    (one,) = judged(engine, Timeframe.DAILY, None, *WEEK)

    assert (counts(one), one.provisional) == ({"complete": 5}, 1)


def test_derived_bars_are_complete_once_they_are_made_of_their_input_as_it_is_now(engine):
    import_series(engine, days("A", date(2020, 1, 1), date(2021, 12, 31)), [Partition("A", 2020), Partition("A", 2021)])
    roll_up_bars(engine, CALENDAR, Timeframe.MONTHLY, [Partition("A", 2020), Partition("A", 2021)], now=NOW)
    assert counts(judged(engine, Timeframe.MONTHLY)[0]) == {"complete": 2}

    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE ohlcv_daily SET volume = 1 WHERE date = '2021-05-05'")
    (one,) = judged(engine, Timeframe.MONTHLY)
    assert gaps(one) == ["2021-01-01 to 2021-12-31: partial (not derived from the daily bars as they are now)"]
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM ohlcv_monthly WHERE month_ending = '2020-05-29'")
    assert gaps(judged(engine, Timeframe.MONTHLY)[0])[0] == (
        "2020-01-01 to 2020-12-31: partial (1 derived bars are not stored any more)"
    )


def test_a_range_given_is_judged_also_where_nothing_is_known(engine):
    assert judged(engine) == []
    assert judged(engine, Timeframe.DAILY, ["A"]) == []
    (one,) = judged(engine, Timeframe.DAILY, ["A"], *WEEK)

    assert gaps(one) == ["2021-03-08 to 2021-03-12: not asked"]


def test_a_session_that_has_not_ended_is_not_judged(engine):
    import_series(engine, days("A", *WEEK), now=datetime(2021, 3, 10, 19, tzinfo=UTC))

    (one,) = judged(engine, Timeframe.DAILY, None, WEEK[0], now=datetime(2021, 3, 10, 19, tzinfo=UTC))

    assert (one.last, counts(one)) == (date(2021, 3, 9), {"complete": 2})


def test_a_thousand_symbols_of_ten_years_are_judged_within_seconds(engine):
    symbols = [f"S{number:04}" for number in range(1_000)]
    years = range(2012, 2022)
    with engine.begin() as connection:
        record_provenance(
            connection,
            [
                Provenance(
                    symbol,
                    Timeframe.DAILY,
                    year,
                    "array",
                    "complete",
                    n_bars=252,
                    requested_from=date(year, 1, 1),
                    requested_through=date(year, 12, 31),
                )
                for symbol in symbols
                for year in years
            ],
        )
        connection.execute(
            sa.text("""
                INSERT INTO bar_ledger (symbol, timeframe, year, n_bars, first_time, last_time, revision)
                SELECT symbol, 'daily', year, n, make_date(year, 1, 2), make_date(year, 12, 31), 1
                FROM unnest(cast(:symbols AS text[])) symbol
                CROSS JOIN unnest(cast(:years AS int[]), cast(:counts AS int[])) of_year (year, n)
            """),
            {
                "symbols": symbols,
                "years": list(years),
                "counts": [len(CALENDAR.sessions(date(year, 1, 1), date(year, 12, 31))) for year in years],
            },
        )

    begin = time.process_time()
    found = judged(engine)

    assert time.process_time() - begin < 5
    assert len(found) == 1_000
    assert {standing: count for one in found[:1] for standing, count in one.counts.items() if count} == {
        Standing.COMPLETE: len(CALENDAR.sessions(date(2012, 1, 1), date(2021, 12, 31)))
    }


@pytest.mark.parametrize("timeframe", list(Timeframe))
def test_an_empty_database_is_judged_too(engine, timeframe):
    assert judged(engine, timeframe) == []
