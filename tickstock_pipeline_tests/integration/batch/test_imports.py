"""Which requests an import sends, and which bars are stored of the answers, when."""

import threading
from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import pytest

from tickstock_pipeline.batch.due_imports import due_days
from tickstock_pipeline.batch.outcome import Status
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline_tests.integration.batch.array_provider import CALENDAR, ArrayProvider, days, minutes
from tickstock_pipeline_tests.integration.batch.import_runs import (
    FIRST,
    LAST,
    YEARS,
    partitions,
    provenance,
    run,
    scalar,
)


def test_consecutive_years_of_days_are_one_request(engine):
    provider = ArrayProvider([days("A", FIRST, LAST)])

    outcomes = run(engine, provider, partitions("A"))

    assert provider.asked == [("A", Timeframe.DAILY, FIRST, LAST)]
    assert [outcome.facts["bars_fetched"] for outcome in outcomes] == [252, 253, 252]
    assert scalar(engine, "SELECT count(*) FROM ohlcv_daily") == 757
    assert {row.requested_from for row in provenance(engine).values()} == {date(year, 1, 1) for year in YEARS}


def test_years_that_are_apart_are_a_request_each(engine):
    provider = ArrayProvider([days("A", FIRST, LAST)])

    run(engine, provider, partitions("A", years=(2019, 2021)))

    assert [(first.year, last.year) for _, _, first, last in provider.asked] == [(2019, 2019), (2021, 2021)]
    assert scalar(engine, "SELECT count(*) FROM ohlcv_daily WHERE extract(year FROM date) = 2020") == 0


def test_minutes_are_asked_year_by_year_and_facts_once_a_symbol(engine):
    provider = ArrayProvider([minutes("A", date(2019, 12, 30), date(2020, 1, 3))])

    outcomes = run(engine, provider, partitions("A", years=(2019, 2020)), Timeframe.MINUTE)

    assert [(first.year, last.year) for _, _, first, last in provider.asked] == [(2019, 2019), (2020, 2020)]
    assert sorted(provider.asked_facts) == [("A", "dividends"), ("A", "splits")]
    assert [outcome.facts["bars_fetched"] for outcome in outcomes] == [2 * 390, 2 * 390]
    assert scalar(engine, "SELECT session_bars[364:365] FROM bar_provenance WHERE year = 2019") == [390, 390]


def test_as_many_requests_are_under_way_as_the_provider_allows_and_never_more(engine):
    meeting = threading.Barrier(3)
    provider = ArrayProvider([days(symbol, FIRST, LAST) for symbol in "ABCDEF"], concurrency=3)
    provider.before_answer = lambda symbol: meeting.wait(timeout=30)

    outcomes = run(engine, provider, partitions(*"ABCDEF"))

    assert provider.most_at_once == 3
    assert {outcome.status for outcome in outcomes} == {Status.WRITTEN}


def test_a_symbol_is_told_of_once_its_bars_are_committed(engine):
    provider = ArrayProvider([days(symbol, FIRST, LAST) for symbol in "ABC"], concurrency=2)
    told = {}

    def on_symbol(symbol, outcomes):
        assert threading.current_thread() is threading.main_thread()
        stored = scalar(engine, f"SELECT count(*) FROM ohlcv_daily WHERE symbol = '{symbol}'")
        told[symbol] = (stored, [outcome.partition.year for outcome in outcomes])

    run(engine, provider, partitions("A", "XX", "B", "C"), on_symbol=on_symbol)

    assert told == {**dict.fromkeys("ABC", (757, list(YEARS))), "XX": (0, list(YEARS))}


def test_every_symbol_is_told_of_also_where_nothing_is_asked(engine):
    provider = ArrayProvider([days("A", FIRST, LAST)])
    provider.timeframes = frozenset({Timeframe.DAILY})
    provider.begins = date(2022, 1, 1)
    told = []

    for timeframe in (Timeframe.MINUTE, Timeframe.DAILY):
        run(engine, provider, partitions("A", "B"), timeframe, on_symbol=lambda symbol, _: told.append(symbol))

    assert told == ["A", "B", "A", "B"]
    assert provider.asked == []


def test_bars_are_written_while_later_symbols_are_still_fetched(engine):
    symbols = [f"S{number:02}" for number in range(40)]
    provider = ArrayProvider([days(symbol, FIRST, LAST) for symbol in symbols])
    seen = []

    def look(symbol: str) -> None:
        if symbol == symbols[-1]:
            seen.append(scalar(engine, "SELECT count(*) FROM ohlcv_daily"))

    provider.before_answer = look
    run(engine, provider, partitions(*symbols))

    assert seen[0] >= 10_000


@pytest.mark.parametrize("timeframe", [Timeframe.DAILY, Timeframe.MINUTE])
def test_an_unfinished_session_is_not_stored_and_comes_with_the_next_import(engine, timeframe):
    make = days if timeframe is Timeframe.DAILY else minutes
    provider = ArrayProvider([make("A", date(2021, 3, 8), date(2021, 3, 12))])
    table, key = ("ohlcv_daily", "date") if timeframe is Timeframe.DAILY else ("ohlcv_1min", "timestamp")
    thursday_afternoon = datetime(2021, 3, 11, 19, tzinfo=UTC)
    five_past_the_close = datetime(2021, 3, 11, 21, 5, tzinfo=UTC)
    evening = datetime(2021, 3, 11, 23, tzinfo=UTC)

    stored = []
    for now in (thursday_afternoon, five_past_the_close, evening):
        run(engine, provider, partitions("A", years=(2021,)), timeframe, now=now)
        stored.append(str(scalar(engine, f"SELECT max({key})::date FROM {table}")))
        assert provenance(engine, timeframe)[Partition("A", 2021)].requested_through.isoformat() == stored[-1]

    assert stored == ["2021-03-10", "2021-03-10", "2021-03-11"]


def test_a_volume_that_grows_after_the_close_is_right_after_the_next_session(engine):
    provider = ArrayProvider([days("A", date(2020, 12, 1), date(2021, 1, 29))])
    whole = provider.series["A", Timeframe.DAILY]
    is_short = whole.time == np.datetime64("2020-12-31", "us")
    provider.series = {("A", Timeframe.DAILY): replace(whole, volume=np.where(is_short, 1, whole.volume))}
    soon_after = datetime(2020, 12, 31, 21, 25, tzinfo=UTC)
    run(engine, provider, partitions("A", years=(2020,)), now=soon_after)
    volume = "SELECT volume FROM ohlcv_daily WHERE date = '2020-12-31'"
    assert scalar(engine, volume) == 1

    provider.series = {("A", Timeframe.DAILY): whole}
    next_session = datetime(2021, 1, 4, 21, 25, tzinfo=UTC)
    with engine.connect() as connection:
        assert not due_days(connection, provider, CALENDAR, datetime(2021, 1, 3, 12, tzinfo=UTC))
        due = due_days(connection, provider, CALENDAR, next_session)
    run(engine, provider, due, now=next_session)

    assert scalar(engine, volume) == int(whole.volume[is_short][0])


def test_a_year_that_has_not_begun_is_skipped(engine):
    provider = ArrayProvider([days("A", FIRST, LAST)])

    outcomes = run(engine, provider, partitions("A", years=(2021, 2022)), now=datetime(2022, 1, 2, tzinfo=UTC))

    assert provider.asked == [("A", Timeframe.DAILY, date(2021, 1, 1), date(2021, 12, 31))]
    assert outcomes[1].status is Status.UNCHANGED
    assert outcomes[1].facts["note"] == "no session of 2022 has ended yet"
    assert set(provenance(engine)) == {Partition("A", 2021)}


def test_one_corrupted_bar_of_a_year_is_in_quarantine_and_everything_else_stored(engine):
    series = days("A", FIRST, LAST)
    series.low[300] = series.high[300] + 1
    provider = ArrayProvider([series])

    outcomes = run(engine, provider, partitions("A"))

    assert [outcome.facts["bars_refused"] for outcome in outcomes] == [0, 1, 0]
    assert scalar(engine, "SELECT count(*) FROM ohlcv_daily") == 756
    assert scalar(engine, "SELECT bar_time FROM quarantined_bars") == str(series.time[300].astype("datetime64[D]"))


def test_a_provider_that_gives_more_than_was_asked_does_not_touch_other_years(engine):
    class Generous(ArrayProvider):
        def fetch_bars(self, symbol, timeframe, first, last):
            return super().fetch_bars(symbol, timeframe, FIRST, LAST)

    run(engine, Generous([days("A", FIRST, LAST)]), partitions("A", years=(2020,)))

    assert scalar(engine, "SELECT array_agg(DISTINCT extract(year FROM date)::int) FROM ohlcv_daily") == [2020]
