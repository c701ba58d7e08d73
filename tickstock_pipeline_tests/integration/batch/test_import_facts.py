"""Splits and dividends come with the bars, and what their provider no longer lists is withdrawn."""

from datetime import UTC, date, datetime

import pytest
import sqlalchemy as sa

from tickstock_pipeline.batch.outcome import Status, failures
from tickstock_pipeline.errors import ProviderAnswerError, ProviderRefusedError, ProviderUnavailableError
from tickstock_pipeline.market.adjustment import Dividend, Split
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.providers.failover import FailoverProvider
from tickstock_pipeline_tests.integration.batch.array_provider import ArrayProvider, days, minutes
from tickstock_pipeline_tests.integration.batch.import_runs import FIRST, LAST, NOW, partitions, run, scalar


def test_facts_come_with_another_year_where_the_first_one_fails(engine):
    class WithoutFirstYear(ArrayProvider):
        def fetch_bars(self, symbol, timeframe, first, last):
            if first.year == 2019:
                raise ProviderAnswerError("cut off")
            return super().fetch_bars(symbol, timeframe, first, last)

    provider = WithoutFirstYear([minutes("A", date(2019, 12, 30), date(2020, 1, 3))])
    provider.splits = [Split("A", date(2020, 8, 31), 4.0)]

    outcomes = run(engine, provider, partitions("A", years=(2019, 2020)), Timeframe.MINUTE)

    assert [outcome.status for outcome in outcomes] == [Status.FAILED, Status.WRITTEN]
    assert scalar(engine, "SELECT ratio FROM splits") == 4.0
    assert sorted(provider.asked_facts) == [("A", "dividends"), ("A", "splits")]


def test_facts_are_stored_and_not_asked_again_the_same_day(engine):
    provider = ArrayProvider([days("A", FIRST, LAST)])
    provider.splits = [Split("A", date(2020, 8, 31), 4.0)]
    provider.dividends = [Dividend("A", date(2020, 8, 7), 0.82)]

    for _ in range(2):
        run(engine, provider, partitions("A"))

    assert len(provider.asked) == 2
    assert sorted(provider.asked_facts) == [("A", "dividends"), ("A", "splits")]
    assert scalar(engine, "SELECT ratio FROM splits") == 4.0
    assert scalar(engine, "SELECT amount FROM dividends") == 0.82
    with engine.begin() as connection:
        # midnight of New York is the border: what was asked the evening before knows no split of this morning
        connection.exec_driver_sql("UPDATE corporate_action_fetches SET fetched_at = '2022-05-31 23:59:59-04'")
    run(engine, provider, partitions("A"))
    assert len(provider.asked_facts) == 4


def test_a_split_that_is_only_announced_is_stored_on_its_day(engine):
    provider = ArrayProvider([days("A", FIRST, LAST)])
    provider.splits = [Split("A", date(2022, 6, 2), 4.0)]
    provider.dividends = [Dividend("A", date(2022, 6, 2), 0.82)]
    evening, next_morning = datetime(2022, 6, 1, 21, tzinfo=UTC), datetime(2022, 6, 2, 12, tzinfo=UTC)

    run(engine, provider, partitions("A"), now=evening)
    assert scalar(engine, "SELECT (SELECT count(*) FROM splits) + (SELECT count(*) FROM dividends)") == 0
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE corporate_action_fetches SET fetched_at = :at"), {"at": evening})
    run(engine, provider, partitions("A"), now=next_morning)

    assert scalar(engine, "SELECT ex_date FROM splits") == date(2022, 6, 2)
    assert scalar(engine, "SELECT ex_date FROM dividends") == date(2022, 6, 2)


@pytest.fixture
def listed(engine):
    """A provider whose two splits of A, and one that somebody else has entered, are stored."""
    provider = ArrayProvider([days("A", FIRST, LAST), days("B", FIRST, LAST)])
    provider.splits = [Split("A", date(2019, 6, 3), 2.0), Split("A", date(2020, 6, 1), 4.0)]
    run(engine, provider, partitions("A", "B"))
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO splits VALUES ('A', '2021-03-01', 3, 'external')")
    return provider


def ask_again(engine, provider):
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM corporate_action_fetches")
    run(engine, provider, partitions("A", "B"))


def test_a_split_that_its_provider_lists_no_longer_is_withdrawn_and_kept_for_the_record(engine, listed):
    listed.splits = [Split("A", date(2019, 6, 4), 2.0), Split("A", date(2021, 9, 1), 5.0)]
    ask_again(engine, listed)

    assert scalar(engine, "SELECT array_agg(ex_date::text || ' ' || ratio ORDER BY ex_date) FROM splits") == [
        "2019-06-03 2",
        "2021-03-01 3",
        "2021-09-01 5",
    ]
    gone = "SELECT array_agg(symbol || ' ' || ex_date || ' ' || ratio || ' ' || source) FROM withdrawn_splits"
    assert scalar(engine, gone) == ["A 2020-06-01 4 array"]
    assert scalar(engine, "SELECT now() - max(withdrawn_at) < interval '1 minute' FROM withdrawn_splits")


def test_all_that_was_made_of_a_split_that_is_withdrawn_is_stale(engine, listed):
    revisions = "SELECT array_agg(revision ORDER BY symbol, year) FROM bar_ledger WHERE symbol = '{}'"
    before = {symbol: scalar(engine, revisions.format(symbol)) for symbol in ("A", "B")}
    listed.splits = listed.splits[:1]
    ask_again(engine, listed)

    after = scalar(engine, revisions.format("A"))
    assert all(new > old for old, new in zip(before["A"], after, strict=True))
    assert scalar(engine, revisions.format("B")) == before["B"]


def test_no_answer_and_an_answer_without_any_split_withdraw_nothing(engine, listed):
    listed.fail_facts = {"splits": ProviderRefusedError("array has no splits.")}
    ask_again(engine, listed)
    listed.fail_facts = {}
    listed.splits = []
    ask_again(engine, listed)

    assert scalar(engine, "SELECT count(*) FROM splits") == 3
    assert scalar(engine, "SELECT count(*) FROM withdrawn_splits") == 0


def test_splits_that_a_stand_in_does_not_list_are_not_withdrawn(engine, listed):
    behind = ArrayProvider([days("A", FIRST, LAST), days("B", FIRST, LAST)])
    behind.splits = listed.splits[:1]
    behind.name = "behind"
    listed.fail_facts = {"splits": ProviderUnavailableError("array does not answer.")}
    ask_again(engine, FailoverProvider([listed, behind], now=lambda: NOW))

    assert scalar(engine, "SELECT count(*) FROM splits") == 3


def test_a_plan_without_splits_does_not_keep_the_bars_away(engine):
    provider = ArrayProvider([days("A", FIRST, LAST)])
    provider.fail_facts = {"splits": ProviderRefusedError("not in your plan")}

    outcomes = run(engine, provider, partitions("A"))

    assert not failures(outcomes)
    assert outcomes[0].facts["note"] == "no splits: not in your plan"


def test_splits_that_cannot_be_had_now_fail_the_symbol_and_dividends_do_not(engine):
    provider = ArrayProvider([days("A", FIRST, LAST)])
    provider.fail_facts = {"splits": ProviderUnavailableError("503")}
    assert {outcome.error for outcome in run(engine, provider, partitions("A"))} == {"503"}
    assert scalar(engine, "SELECT count(*) FROM ohlcv_daily") == 0

    provider.fail_facts = {"dividends": ProviderUnavailableError("503")}
    assert not failures(run(engine, provider, partitions("A")))
    assert scalar(engine, "SELECT array_agg(kind) FROM corporate_action_fetches") == ["splits"]
