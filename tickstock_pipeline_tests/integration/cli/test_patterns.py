"""``tickstock patterns``: which detections are shown, and how."""

import csv
import io
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from tickstock_pipeline.storage.tables import DAILY_PATTERNS, PATTERN_DEFINITIONS

Run = Callable[..., Any]


def detection(symbol: str, timeframe: str, pattern: str, bar: str, confidence: float, **more: Any) -> dict[str, Any]:
    time = datetime.fromisoformat(bar).replace(tzinfo=UTC)
    # the instant of a date-keyed bar is the opening of its session
    instant = time if timeframe in {"1min", "hourly"} else time.replace(hour=14, minute=30)
    return {
        "symbol": symbol,
        "timeframe": timeframe,
        "pattern_type": pattern,
        "bar_time": time,
        "detection_timestamp": instant,
        "confidence": confidence,
        "direction": "bullish",
        "pattern_data": {"direction": "bullish", "price": 1234.5},
        "levels": {"entry": 1234.5, "stop": 1200.25},
        "retracted_at": None,
        **more,
    }


@pytest.fixture
def stored(engine: sa.Engine) -> Iterator[None]:
    rows = [
        detection("AAPL", "daily", "engulfing", "2013-02-28", 0.85),
        detection("AAPL", "daily", "doji", "2013-03-01", 0.55, direction="neutral", levels=None),
        detection("AAPL", "weekly", "hammer", "2013-02-22", 0.42),
        detection("MSFT", "hourly", "harami", "2013-03-01T14:30", 0.61, direction="bearish"),
        detection("MSFT", "daily", "hammer", "2013-02-28", 0.9, retracted_at=datetime.now(UTC)),
    ]
    with engine.begin() as connection:
        connection.execute(sa.insert(DAILY_PATTERNS), rows)
    return


def names(outcome: Any) -> list[tuple[str, str]]:
    assert outcome.exit_code == 0
    return [(row["symbol"], row["pattern"]) for row in outcome.json()]


@pytest.mark.usefixtures("stored")
def test_the_newest_come_first_and_retracted_ones_not_at_all(configured: Run) -> None:
    newest_first = [("AAPL", "doji"), ("MSFT", "harami"), ("AAPL", "engulfing"), ("AAPL", "hammer")]

    assert names(configured("patterns", "--json")) == newest_first
    assert names(configured("patterns", "--json", "--limit", "1")) == newest_first[:1]


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["msft"], ["harami"]),
        (["AAPL", "-t", "daily"], ["doji", "engulfing"]),
        (["-t", "WEEKLY", "--timeframe", "hourly"], ["harami", "hammer"]),
        (["--pattern", "doji", "-p", "hammer"], ["doji", "hammer"]),
        (["--since", "2013-03-01"], ["doji", "harami"]),
        (["--since", "2013-02-28"], ["doji", "harami", "engulfing"]),
        (["--since", "2013-03-01T14:31"], []),
        (["--min-confidence", "0.61"], ["harami", "engulfing"]),
        (["AAPL", "-t", "daily", "-p", "doji", "--min-confidence", "0.9"], []),
    ],
)
def test_they_can_be_restricted(configured: Run, arguments: list[str], expected: list[str]) -> None:
    assert [pattern for _, pattern in names(configured("patterns", *arguments, "--json"))] == expected


@pytest.mark.usefixtures("stored")
def test_the_table_is_whole_in_a_pipe_and_without_colours(configured: Run) -> None:
    outcome = configured("patterns")

    assert (outcome.exit_code, outcome.stderr) == (0, "")
    assert "\x1b" not in outcome.stdout
    rows = [line.split() for line in outcome.stdout.splitlines()]
    assert ["AAPL", "daily", "doji", "neutral", "0.55", "2013-03-01", "1,234.50"] in rows
    assert ["MSFT", "hourly", "harami", "bearish", "0.61", "2013-03-01", "14:30", "1,234.50"] in rows
    assert ["AAPL", "weekly", "hammer", "bullish", "0.42", "2013-02-22", "1,234.50"] in rows


@pytest.mark.usefixtures("stored")
def test_json_has_dates_for_date_keyed_bars_and_instants_for_the_others(configured: Run) -> None:
    bars = {(row["symbol"], row["timeframe"]): row["bar"] for row in configured("patterns", "--json").json()}

    assert bars["AAPL", "weekly"] == "2013-02-22"
    assert bars["MSFT", "hourly"] == "2013-03-01T14:30:00+00:00"


@pytest.mark.usefixtures("stored")
def test_json_carries_everything_a_program_needs(configured: Run) -> None:
    (row,) = configured("patterns", "-p", "engulfing", "--json").json()

    assert row == {
        "symbol": "AAPL",
        "timeframe": "daily",
        "pattern": "engulfing",
        "direction": "bullish",
        "confidence": 0.85,
        "strength": "strong",
        "bar": "2013-02-28",
        "close": 1234.5,
        "levels": {"entry": 1234.5, "stop": 1200.25},
        "detection_timestamp": "2013-02-28T14:30:00+00:00",
        "revision": 1,
        "pattern_data": {"direction": "bullish", "price": 1234.5},
    }


@pytest.mark.usefixtures("stored")
def test_csv_is_read_back_as_it_was(configured: Run) -> None:
    outcome = configured("patterns", "AAPL", "-t", "daily", "--csv")

    assert list(csv.DictReader(io.StringIO(outcome.stdout)))[1] == {
        "symbol": "AAPL",
        "timeframe": "daily",
        "pattern": "engulfing",
        "direction": "bullish",
        "confidence": "0.85",
        "strength": "strong",
        "bar": "2013-02-28",
        "close": "1234.5",
        "entry": "1234.5",
        "stop": "1200.25",
        "target": "",
        "detection_timestamp": "2013-02-28T14:30:00+00:00",
    }


def test_without_a_detection_programs_get_an_empty_answer_and_people_a_sentence(configured: Run) -> None:
    assert configured("patterns", "--json").json() == []
    assert len(configured("patterns", "--csv").stdout.splitlines()) == 1
    outcome = configured("patterns")
    assert (outcome.exit_code, outcome.stdout, outcome.stderr) == (0, "", "No detection matches.")


def test_a_symbol_that_is_not_stored_is_named(configured: Run) -> None:
    assert configured("patterns", "nosuch").stderr == "No bars are stored of NOSUCH."


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--timeframe", "yearly"], ["yearly", "1min", "hourly", "daily", "weekly", "monthly"]),
        (["--pattern", "dojo"], ["'dojo' is not defined", "doji", "evening_star"]),
        (["--since", "yesterday"], ["--since", "yesterday"]),
        (["--limit", "0"], ["--limit", "greater than or equal to 1"]),
        (["--min-confidence", "1.5"], ["--min-confidence", "less than or equal to 1"]),
        (["--json", "--csv"], ["--json, --csv", "choose one"]),
        (["a b"], ["SYMBOL", "is not a symbol"]),
    ],
)
def test_a_wrong_argument_is_answered_with_what_is_allowed(
    configured: Run, arguments: list[str], words: list[str]
) -> None:
    outcome = configured("patterns", *arguments)

    assert (outcome.exit_code, outcome.stdout) == (2, "")
    assert [word for word in words if word not in outcome.stderr] == []


def test_a_definition_that_somebody_added_can_be_asked_for(configured: Run, engine: sa.Engine) -> None:
    with engine.begin() as connection:
        own = sa.update(PATTERN_DEFINITIONS).where(PATTERN_DEFINITIONS.c.name == "doji").values(name="my_doji")
        connection.execute(own)

    assert configured("patterns", "-p", "my_doji").exit_code == 0
    assert configured("patterns", "-p", "doji").exit_code == 2


@pytest.mark.usefixtures("stored")
def test_a_row_of_another_program_with_the_least_it_can_have_is_shown(configured: Run, engine: sa.Engine) -> None:
    with engine.begin() as connection:
        row = {"symbol": "XYZ", "pattern_type": "triangle", "confidence": 0.5}
        connection.execute(sa.insert(DAILY_PATTERNS), [row])

    assert "triangle" in configured("patterns", "XYZ").stdout
    (shown,) = configured("patterns", "XYZ", "--json").json()
    assert (shown["close"], shown["levels"], shown["direction"]) == (None, {}, None)


def test_an_older_schema_is_said(tickstock: Run, empty_database_url: str, monkeypatch: Any) -> None:
    monkeypatch.setenv("TICKSTOCK_DATABASE_URL", empty_database_url)

    outcome = tickstock("patterns")

    assert outcome.exit_code == 1
    assert "schema version none" in outcome.stderr
    assert "tickstock db upgrade" in outcome.stderr
