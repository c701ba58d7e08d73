"""``tickstock coverage``: what is complete, what is missing, and the command that imports it."""

from collections.abc import Callable
from datetime import date
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.market.calendar import trading_calendar
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.bars import write_bars
from tickstock_pipeline.storage.provenance import Provenance, record_failures, record_provenance

Run = Callable[..., Any]


@pytest.fixture
def stored(engine: sa.Engine) -> None:
    sessions = trading_calendar().sessions(date(2012, 1, 1), date(2012, 12, 31))
    prices = np.full(len(sessions), 10.0)
    bars = Bars(
        "AAPL",
        Timeframe.DAILY,
        sessions.astype("datetime64[us]"),
        *(prices,) * 4,
        np.full(len(sessions), 100),
    )
    asked = Provenance(
        "AAPL",
        Timeframe.DAILY,
        2012,
        "test",
        "complete",
        len(sessions),
        requested_from=date(2012, 1, 1),
        requested_through=date(2012, 12, 31),
    )
    with engine.begin() as connection:
        write_bars(connection, [bars], "test")
        record_provenance(connection, [asked])
        record_failures(
            connection,
            [
                Provenance(symbol, Timeframe.DAILY, 2013, "test", "failed", 0, error="the provider [503] is down")
                for symbol in ("AAPL", "MSFT")
            ],
        )


@pytest.mark.usefixtures("stored")
def test_the_summary_counts_sessions_by_standing(configured: Run) -> None:
    outcome = configured("coverage", "-t", "daily")

    assert outcome.exit_code == 0
    lines = [line.split() for line in outcome.stdout.splitlines()]
    assert ["AAPL", "2012-01-01", "2013-12-31", "502", "250", "0", "0", "252", "0", "250", "0"] in lines
    assert ["MSFT", "2013-01-01", "2013-12-31", "252", "0", "0", "0", "252", "0", "0", "0"] in lines
    assert "tickstock coverage --gaps" in outcome.stderr


@pytest.mark.usefixtures("stored")
def test_gaps_come_with_their_reason_and_one_command_for_all_that_lack_the_same(configured: Run) -> None:
    outcome = configured("coverage", "--timeframe", "daily", "--gaps")

    assert "the provider [503] is down" in outcome.stdout
    assert outcome.stdout.splitlines()[-1] == (
        "tickstock import AAPL MSFT --timeframe daily --from 2013-01-01 --to 2013-12-31"
    )


@pytest.mark.usefixtures("stored")
def test_json_names_each_gap_and_its_command(configured: Run) -> None:
    (row,) = configured("coverage", "aapl", "-t", "daily", "--json").json()

    assert (row["symbol"], row["expected"], row["complete"], row["failed"]) == ("AAPL", 502, 250, 252)
    assert row["gaps"] == [
        {
            "first": "2013-01-02",
            "last": "2013-12-31",
            "count": 252,
            "standing": "failed",
            "reason": "the provider [503] is down",
            "command": "tickstock import AAPL --timeframe daily --from 2013-01-02 --to 2013-12-31",
        }
    ]


def test_what_the_provider_does_not_have_is_not_suggested(configured: Run, engine: sa.Engine, monkeypatch) -> None:
    failed = Provenance("AAPL", Timeframe.MINUTE, 2013, "test", "failed", 0, error="down")
    with engine.begin() as connection:
        record_failures(connection, [failed])

    outcome = configured("coverage", "--gaps")

    assert "2013-12-31" in outcome.stdout
    assert "tickstock import" not in outcome.stdout
    assert "sample has no 1min bars; TICKSTOCK_PROVIDER can name" in outcome.stderr
    (row,) = configured("coverage", "--json").json()
    assert [gap["command"] for gap in row["gaps"]] == [None]

    monkeypatch.setenv("TICKSTOCK_PROVIDER", "polygon,sample")
    command = "tickstock import AAPL --timeframe 1min --from 2013-01-01 --to 2013-12-31"
    # its key is not set: the import says so
    assert configured("coverage", "--gaps").stdout.splitlines()[-1] == command
    monkeypatch.setenv("TICKSTOCK_POLYGON_API_KEY", "some-key")
    assert configured("coverage", "--gaps").stdout.splitlines()[-1] == command


@pytest.mark.usefixtures("stored")
def test_a_range_of_dates_narrows_what_is_judged(configured: Run) -> None:
    (row,) = configured(
        "coverage", "AAPL", "-t", "daily", "--from", "2012-12-31", "--to", "2013-01-02", "--json"
    ).json()

    assert (row["expected"], row["complete"], row["failed"]) == (2, 1, 1)


def test_an_empty_database_and_a_wrong_symbol_are_told(configured: Run) -> None:
    assert "No bars were asked for or stored of MSFT." in configured("coverage", "MSFT").stderr
    assert configured("coverage", "--json").json() == []
    assert configured("coverage", "'; DROP").exit_code == 2
