"""How results and errors leave the program."""

import json
from datetime import UTC, date, datetime, timedelta, timezone
from io import StringIO
from typing import Any
from uuid import UUID

import pytest
from rich.console import Console

from tickstock_pipeline.cli.patterns import patterns_table
from tickstock_pipeline.cli.terminal import new_table, print_error, print_json, print_result, shown_instant
from tickstock_pipeline.errors import ServiceError
from tickstock_pipeline.storage.patterns import StoredPattern

TOKYO = timezone(timedelta(hours=9))


def test_an_error_goes_to_stderr_with_its_advice(capsys: pytest.CaptureFixture[str]) -> None:
    print_error(ServiceError("It [red]broke[/].", advice="Mend it."))

    captured = capsys.readouterr()
    assert captured.out == ""
    assert "It [red]broke[/]." in captured.err
    assert "What to do: Mend it." in captured.err


def test_a_table_is_not_cut_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    table = new_table("Wide", *(f"column-{number:02}" for number in range(15)))

    print_result(table)

    assert "column-14" in capsys.readouterr().out


def test_json_has_instants_in_utc_and_dates_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    noon = datetime(2013, 1, 2, 12, tzinfo=TOKYO)
    identity = UUID("00000000-0000-0000-0000-000000000001")

    print_json([noon, date(2013, 1, 2), identity, "é"])

    assert json.loads(capsys.readouterr().out) == ["2013-01-02T03:00:00+00:00", "2013-01-02", str(identity), "é"]


def test_people_see_instants_in_utc_too() -> None:
    assert shown_instant(datetime(2013, 1, 2, 12, tzinfo=TOKYO)) == "2013-01-02 03:00:00"


def stored(**fields: Any) -> StoredPattern:
    defaults: dict[str, Any] = {
        "id": 1,
        "symbol": "GOOGL",
        "timeframe": "monthly",
        "pattern": "shooting_star",
        "direction": "bearish",
        "confidence": 0.5,
        "detection_timestamp": datetime(2013, 1, 2, tzinfo=UTC),
        "bar_time": None,
        "revision": 1,
        "pattern_data": {"price": 1234.5},
        "levels": None,
    }
    return StoredPattern(**{**defaults, **fields})


def test_what_the_data_say_is_never_taken_for_markup(capsys: pytest.CaptureFixture[str]) -> None:
    row = stored(symbol="[bold]X[/]", pattern="[/nonsense]", direction="sideways", pattern_data={"price": "unknown"})

    print_result(patterns_table([row], title="Detections"))

    words = capsys.readouterr().out.splitlines()[-1].split()
    assert words == ["[bold]X[/]", "monthly", "[/nonsense]", "sideways", "0.50", "2013-01-02"]


def test_the_widest_detections_by_default_fit_an_ordinary_terminal() -> None:
    narrow = Console(width=80, file=StringIO())

    narrow.print(patterns_table([stored()], title="Detections"))

    printed = narrow.file.getvalue()
    assert "…" not in printed
    assert "GOOGL   monthly    shooting_star  bearish" in printed
