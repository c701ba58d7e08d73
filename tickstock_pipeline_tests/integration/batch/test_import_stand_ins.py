"""What a stand-in gives is recorded as its own, and replaces nothing that the provider asked for gave."""

from datetime import date

from tickstock_pipeline.batch.completeness import completeness
from tickstock_pipeline.batch.outcome import Status, failures
from tickstock_pipeline.batch.standing import Standing
from tickstock_pipeline.errors import ProviderUnavailableError
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.providers.failover import FailoverProvider
from tickstock_pipeline_tests.integration.batch.array_provider import CALENDAR, ArrayProvider, days
from tickstock_pipeline_tests.integration.batch.import_runs import FIRST, LAST, NOW, partitions, provenance, run, scalar


def test_who_gave_the_bars_instead_is_recorded_with_the_reason(engine):
    provider = ArrayProvider([days("A", FIRST, LAST)], source="another", reason="array: 503")

    outcomes = run(engine, provider, partitions("A"))

    assert (outcomes[0].facts["source"], outcomes[0].facts["reason"]) == ("another", "array: 503")
    assert scalar(engine, "SELECT array_agg(DISTINCT source) FROM ohlcv_daily") == ["another"]
    row = provenance(engine)[Partition("A", 2020)]
    assert (row.source, row.reason) == ("another", "array: 503")


def test_a_part_that_a_stand_in_has_is_stored_as_a_part_and_the_rest_stays_to_be_asked_for(engine):
    behind = ArrayProvider([days("A", FIRST, LAST)])
    behind.name, behind.begins = "behind", date(2020, 12, 1)
    first = ArrayProvider([days("A", FIRST, LAST)])

    def refuse(_: str) -> None:
        raise ProviderUnavailableError("array does not answer.")

    first.before_answer = refuse
    provider = FailoverProvider([first, behind], now=lambda: NOW)

    outcomes = run(engine, provider, partitions("A"))

    assert [outcome.status for outcome in outcomes] == [Status.FAILED, Status.WRITTEN, Status.WRITTEN]
    assert scalar(engine, "SELECT min(date)::text FROM ohlcv_daily") == "2020-12-01"
    found = provenance(engine)
    part = found[Partition("A", 2020)]
    assert (part.outcome, part.source, part.requested_from) == ("partial", "behind", date(2020, 12, 1))
    assert part.reason == "array: array does not answer.; behind: its history begins on 2020-12-01"
    assert (found[Partition("A", 2021)].outcome, found[Partition("A", 2019)].outcome) == ("complete", "failed")
    with engine.connect() as connection:
        (judged,) = completeness(connection, CALENDAR, Timeframe.DAILY, now=NOW)
    assert judged.counts[Standing.COMPLETE] == 22 + 252
    assert judged.counts[Standing.NOT_ASKED] == 231

    first.before_answer = lambda _: None
    assert not failures(run(engine, provider, partitions("A")))
    first.before_answer = refuse
    run(engine, provider, partitions("A"))
    # what was had before is not forgotten
    assert provenance(engine)[Partition("A", 2020)].requested_from == date(2020, 1, 1)
    assert scalar(engine, "SELECT count(*) FROM ohlcv_daily") == 757


def test_a_fall_back_fills_in_and_replaces_nothing_that_the_provider_asked_gave(engine):
    of_asked, of_other = days("A", FIRST, date(2020, 6, 30)), days("A", FIRST, LAST, seed=1)
    run(engine, ArrayProvider([of_asked]), partitions("A"))
    run(engine, ArrayProvider([of_other], source="another", reason="503"), partitions("A"))

    assert scalar(engine, "SELECT max(date) FROM ohlcv_daily WHERE source = 'array'") == date(2020, 6, 30)
    assert scalar(engine, "SELECT min(date) FROM ohlcv_daily WHERE source = 'another'") == date(2020, 7, 1)
    run(engine, ArrayProvider([days("A", FIRST, LAST)]), partitions("A"))
    assert scalar(engine, "SELECT array_agg(DISTINCT source) FROM ohlcv_daily") == ["array"]
