"""Job messages: the shapes that other programs send, and whatever strangers may send instead."""

import json
from contextlib import suppress
from datetime import date
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tickstock_pipeline.errors import JobError
from tickstock_pipeline.imports.json_message import MOST_BYTES
from tickstock_pipeline.imports.message import (
    CancelRequest,
    InvalidRequest,
    JobRequest,
    is_control,
    parse_control,
    parse_job,
)
from tickstock_pipeline.market.timeframe import Timeframe

ALL = tuple(Timeframe)


def request(**message: Any) -> JobRequest:
    found = parse_job(
        json.dumps({"job_id": "j", "job_type": "historical_load", "symbols": ["AAPL"], **message}).encode()
    )
    assert isinstance(found, JobRequest), found
    return found


def reason(**message: Any) -> str:
    found = parse_job(
        json.dumps({"job_id": "j", "job_type": "historical_load", "symbols": ["AAPL"], **message}).encode()
    )
    assert isinstance(found, InvalidRequest), found
    assert found.job_id == "j"
    return found.reason


def test_a_universe_of_a_file_is_loaded_under_its_key() -> None:
    found = request(
        job_id="job_20241030_145623_abc123",
        job_type="csv_universe_load",
        symbols=None,
        csv_file="sp_500.csv",
        universe_type="sp_500",
        years=1,
        include_ohlcv=True,
        requested_by="admin",
        timestamp="2024-10-30T14:56:23.123456",
    )

    assert (found.job_id, found.requested_by) == ("job_20241030_145623_abc123", "admin")
    assert (found.csv_file, found.universe_key, found.symbols) == ("sp_500.csv", "sp_500", ())
    assert (found.timeframes, found.years, found.run_analysis) == (ALL, 1.0, False)


def test_symbols_are_more_exact_than_the_universe_that_they_are_of() -> None:
    found = request(
        job_type="csv_universe_load",
        universe_key="SPY",
        symbols=["aapl", "AAPL", " brk.b "],
        timeframes=["daily"],
        run_analysis_after_import=True,
    )

    assert (found.symbols, found.universe_key) == (("AAPL", "BRK.B"), "")
    assert (found.timeframes, found.run_analysis, found.analysis_mode) == ((Timeframe.DAILY,), True, "batch")


def test_a_timespan_is_one_timeframe_and_years_may_be_fractional() -> None:
    found = request(years=0.5, timespan="day")

    assert (found.timeframes, found.years) == ((Timeframe.DAILY,), 0.5)


def test_several_timeframes_come_in_the_order_from_fine_to_coarse() -> None:
    found = request(job_type="multi_timeframe_load", timeframes=["day", "hour"])

    assert found.timeframes == (Timeframe.HOURLY, Timeframe.DAILY)


def test_a_seed_without_years_registers_only_and_with_years_imports() -> None:
    seed = {"job_type": "universe_seed", "symbols": None, "universe_type": "SP500"}

    assert request(**seed).timeframes == ()
    assert request(**seed, years=2).timeframes == ALL
    assert request(**seed, years=2).universe_key == "SP500"


def test_a_job_without_bars_has_no_analysis_either() -> None:
    found = request(include_ohlcv=False, run_analysis_after_import=True)

    assert (found.timeframes, found.run_analysis) == ((), False)


def test_dates_may_take_the_place_of_years() -> None:
    found = request(start_date="2012-01-31", end_date="2013-01-31T00:00:00Z")

    assert (found.first_date, found.last_date) == (date(2012, 1, 31), date(2013, 1, 31))


@pytest.mark.parametrize(
    ("spelling", "timeframe"),
    [
        ("minute", Timeframe.MINUTE),
        ("1min", Timeframe.MINUTE),
        ("hour", Timeframe.HOURLY),
        ("hourly", Timeframe.HOURLY),
        ("day", Timeframe.DAILY),
        ("daily", Timeframe.DAILY),
        ("week", Timeframe.WEEKLY),
        ("weekly", Timeframe.WEEKLY),
        ("month", Timeframe.MONTHLY),
        ("Monthly", Timeframe.MONTHLY),
    ],
)
def test_every_spelling_of_a_timeframe_is_understood(spelling: str, timeframe: Timeframe) -> None:
    assert request(timespan=spelling).timeframes == (timeframe,)
    assert request(timeframes=[spelling]).timeframes == (timeframe,)


def test_unknown_keys_are_ignored_and_not_kept() -> None:
    found = request(priority="high", nested={"a": [1]})

    assert set(found.message) == {"job_id", "job_type", "symbols"}


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"job_type": None}, "job_type is missing"),
        ({"job_type": "drop_tables"}, "job_type 'drop_tables' is none of csv_universe_load"),
        ({"job_type": ["historical_load"]}, "job_type a list or an object"),
        ({"symbols": None}, "historical_load needs symbols"),
        ({"symbols": []}, "historical_load needs symbols"),
        ({"symbols": "AAPL"}, "symbols is not a list"),
        ({"symbols": ["AAPL", 7]}, "symbols is not a list of texts"),
        ({"symbols": ["'; DROP TABLE symbols; --"]}, 'DROP TABLE symbols; --", which cannot be a symbol'),
        ({"symbols": ["A"] * 20_001}, "20000 is the most"),
        ({"job_type": "csv_universe_load", "symbols": None}, "needs symbols or csv_file or universe_key"),
        ({"job_type": "csv_universe_load", "symbols": None, "csv_file": "a\nb"}, "csv_file is not a printable text"),
        (
            {"job_type": "csv_universe_load", "symbols": None, "universe_key": ":".join(["sp_500"] * 100)},
            "universe_key is longer than 500 characters",
        ),
        ({"job_type": "universe_seed"}, "universe_seed needs universe_type"),
        ({"timeframes": ["daily", "2min"]}, "timeframe '2min' is none of minute, 1min"),
        ({"timespan": {"day": 1}}, "timeframe a list or an object"),
        ({"years": 0}, "years is 0, not a number above 0"),
        ({"years": -3}, "years is -3"),
        ({"years": 1e308}, "years is 1e+308"),
        ({"years": 10**400}, "years is a huge number"),
        ({"years": float("nan")}, "years is nan"),
        ({"years": float("inf")}, "years is inf"),
        ({"years": "two"}, "years is 'two'"),
        ({"years": True}, "years is True"),
        ({"start_date": "yesterday"}, "start_date is 'yesterday', not a date"),
        ({"start_date": "2024-01-311"}, "start_date is '2024-01-311', not a date"),
        ({"end_date": "2024-01-31; DROP TABLE"}, "end_date is '2024-01-31; DROP TABLE', not a date"),
        ({"start_date": "2024-01-02", "end_date": "2024-01-01"}, "start_date is after end_date"),
        ({"include_ohlcv": "false"}, "include_ohlcv is 'false', not true or false"),
        ({"run_analysis_after_import": 1}, "run_analysis_after_import is 1"),
        ({"analysis_mode": "all"}, "analysis_mode 'all' is neither"),
    ],
)
def test_what_is_wrong_with_a_job_is_said(message: dict[str, Any], words: str) -> None:
    assert words in reason(**message)


def test_a_key_that_comes_twice_fails_the_job() -> None:
    found = parse_job(b'{"job_id": "j", "years": 1, "job_type": "historical_load", "symbols": ["A"], "years": 50}')

    assert isinstance(found, InvalidRequest)
    assert found.reason == "years comes twice"


def test_a_reason_never_repeats_much_of_the_message() -> None:
    assert len(reason(job_type="x" * 10_000)) < 300
    assert len(reason(symbols=["y" * 10_000])) < 300


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not JSON"),
        (b"cancel everything", "not JSON"),
        (b'{"job_id": "j"', "not JSON"),
        (b"\xff\xfe", "not UTF-8"),
        (b'{"job_id": "\xc3("}', "not UTF-8"),
        (b'["job_id"]', "not a JSON object"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"job_id":' * 100_000, "nested too deeply"),
        (b'{"job_id": "j", "years": ' + b"9" * 10_000 + b"}", "not JSON"),
        (b" " * (10 * 1024 * 1024), "larger than 1024 KiB"),
        (b'{"job_type": "historical_load"}', "job_id is missing"),
        (b'{"job_id": null}', "job_id is missing"),
        (b'{"job_id": 7}', "job_id is not a text"),
        (b'{"job_id": ""}', "job_id is not a text"),
        (b'{"job_id": " j"}', "job_id is not a text"),
        (b'{"job_id": "a\\u0000b"}', "job_id is not a text"),
        (b'{"job_id": "\\ud800"}', "job_id is not a text"),
        (b'{"job_id": "a\\nb"}', "job_id is not a text"),
        (b'{"job_id": "' + b"a" * 10_000 + b'"}', "job_id is not a text"),
        (b'{"job_id": "a", "job_id": "b"}', "job_id comes twice"),
    ],
)
def test_a_message_about_which_nobody_could_be_told_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(JobError, match=words) as refused:
        parse_job(data)
    # refusals are counted by these words, so they must be few
    assert len(refused.value.message) < 100


def test_odd_but_printable_ids_are_ids() -> None:
    for job_id in ("a/b", "größe", "x" * 200, "'; DROP TABLE import_jobs", "a b"):
        assert request(job_id=job_id).job_id == job_id


def test_a_job_is_cancelled_by_its_id() -> None:
    data = b'{"job_id": "j", "action": "cancel", "requested_by": "admin", "timestamp": "2024-10-30T14:56:23"}'

    assert parse_control(data) == CancelRequest(job_id="j", requested_by="admin")
    assert is_control(data)
    assert not is_control(b'{"job_id": "j", "job_type": "historical_load"}')
    assert not is_control(b"{")


@pytest.mark.parametrize("data", [b'{"job_id": "j", "action": "pause"}', b'{"action": "cancel"}', b"{}", b"null"])
def test_any_other_control_is_refused(data: bytes) -> None:
    with pytest.raises(JobError):
        parse_control(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
KEYS = ("job_id", "job_type", "symbols", "csv_file", "universe_key", "timeframes", "timespan", "years", "start_date")
KEYS += ("end_date", "include_ohlcv", "run_analysis_after_import", "analysis_mode", "requested_by", "universe_type")
NEAR_MISSES = st.fixed_dictionaries(
    {}, optional={key: JSON | st.sampled_from(["j", "historical_load", "daily", 1, True, ["AAPL"]]) for key in KEYS}
)


# the first text of a process takes seconds: the table of characters is read for it
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(NEAR_MISSES.map(lambda message: json.dumps(message).encode()) | st.binary(max_size=200))
@example(b"\xef\xbb\xbf{}")
def test_parsing_raises_nothing_but_a_refusal_and_keeps_what_json_can_hold(data: bytes) -> None:
    try:
        found = parse_job(data)
    except JobError:
        return
    kept = json.dumps(found.message, allow_nan=False)
    assert "\\u0000" not in kept.replace("\\\\", "")
    kept.encode("utf-8")
    assert len(data) <= MOST_BYTES


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=100) | NEAR_MISSES.map(lambda message: json.dumps(message).encode()))
def test_parsing_control_raises_nothing_but_a_refusal(data: bytes) -> None:
    with suppress(JobError):
        assert parse_control(data).job_id
