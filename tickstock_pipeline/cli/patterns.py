"""``tickstock patterns``: what was detected, as a table, JSON or CSV."""

import csv
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from typing import Annotated, Any

import sqlalchemy as sa
import typer
from rich.table import Table
from rich.text import Text

from tickstock_pipeline.cli.arguments import given_symbol
from tickstock_pipeline.cli.terminal import JsonOption, err, new_table, print_json, print_result
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.patterns.detections import signal_strength
from tickstock_pipeline.runtime.attach import attached_settings
from tickstock_pipeline.settings import Settings
from tickstock_pipeline.storage.definitions import read_definitions
from tickstock_pipeline.storage.engine import create_engine
from tickstock_pipeline.storage.ledger import read_ledger
from tickstock_pipeline.storage.patterns import StoredPattern, latest_patterns
from tickstock_pipeline.storage.schema import require_head

EXAMPLES = """Examples:

tickstock patterns

tickstock patterns AAPL MSFT -t daily -p engulfing --since 2013-01-01

tickstock patterns -t weekly --min-confidence 0.7 --limit 100 --csv > a.csv

tickstock patterns --json | jq '.[0].levels'
"""

_DIRECTION_STYLES = {"bullish": "green", "bearish": "red"}
_LEVELS = ("entry", "stop", "target")
_CSV_COLUMNS = (
    *("symbol", "timeframe", "pattern", "direction", "confidence", "strength", "bar", "close"),
    *_LEVELS,
    "detection_timestamp",
)


def patterns(
    symbols: Annotated[
        list[str] | None, typer.Argument(metavar="SYMBOL", help="Only these; by default all.", show_default=False)
    ] = None,
    timeframes: Annotated[
        list[Timeframe] | None,
        typer.Option("--timeframe", "-t", case_sensitive=False, help="Only this one; may be repeated."),
    ] = None,
    names: Annotated[
        list[str] | None, typer.Option("--pattern", "-p", metavar="NAME", help="Only this one; may be repeated.")
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"],
            metavar="DATE",
            help="The first date, or instant in UTC, such as 2013-01-31 or 2013-01-31T14:30.",
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most, the newest first.")] = 20,
    min_confidence: Annotated[float, typer.Option(min=0.0, max=1.0, help="The lowest confidence, 0 to 1.")] = 0.0,
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV with a header line instead of a table.")] = False,
) -> None:
    """List detected patterns, the newest first. Prices are as traded on that day.

    Detections that a later correction of the bars has taken back are left out.
    """
    if as_json and as_csv:
        raise typer.BadParameter("choose one of them", param_hint="--json, --csv")
    wanted = None if not symbols else [given_symbol(text) for text in symbols]
    engine = create_engine(attached_settings(Settings.load()).database_dsn(), poolclass=sa.NullPool)
    with engine.connect() as connection:
        require_head(connection)
        if names:
            _refuse_unknown(names, {row.name for row in read_definitions(connection).patterns})
        found = latest_patterns(
            connection,
            symbols=wanted,
            timeframes=timeframes or None,
            patterns=names or None,
            since=None if since is None else since.replace(tzinfo=UTC),
            min_confidence=min_confidence,
            limit=limit,
        )
        if not found:
            err.print(_why_nothing(connection, wanted))
    if as_json:
        print_json([_as_record(row) for row in found])
    elif as_csv:
        _write_csv(found)
    elif found:
        print_result(patterns_table(found, title="Detections"))


def patterns_table(rows: Sequence[StoredPattern], *, title: str) -> Table:
    """Detections as people read them, in the order given."""
    table = new_table(title, "Symbol", "Timeframe", "Pattern", "Direction")
    for heading in ("Confidence", "Bar (UTC)", "Close"):
        table.add_column(heading, justify="right")
    for row in rows:
        close = _close(row)
        table.add_row(
            Text(row.symbol),
            Text(row.timeframe),
            Text(row.pattern),
            Text(row.direction or "", style=_DIRECTION_STYLES.get(row.direction or "", "")),
            f"{row.confidence:.2f}",
            _bar(row),
            "" if close is None else f"{close:,.2f}",
        )
    return table


def _refuse_unknown(names: Iterable[str], known: set[str]) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise typer.BadParameter(
            f"{', '.join(map(repr, unknown))} is not defined. Choose from {', '.join(sorted(known))}.",
            param_hint="--pattern",
        )


def _why_nothing(connection: sa.Connection, symbols: Sequence[str] | None) -> str:
    if symbols is not None:
        stored = {row.symbol for timeframe in Timeframe for row in read_ledger(connection, timeframe, symbols)}
        missing = [symbol for symbol in symbols if symbol not in stored]
        if missing:
            return f"No bars are stored of {', '.join(missing)}."
    return "No detection matches."


def _bar_key(row: StoredPattern) -> date | datetime:
    """The instant of an intraday bar, the date of another; a row of another program knows only its timestamp."""
    time = (row.bar_time or row.detection_timestamp).astimezone(UTC)
    intraday = row.timeframe in {str(timeframe) for timeframe in Timeframe if timeframe.is_intraday}
    return time if intraday else time.date()


def _bar(row: StoredPattern) -> str:
    key = _bar_key(row)
    return f"{key:%Y-%m-%d %H:%M}" if isinstance(key, datetime) else key.isoformat()


def _close(row: StoredPattern) -> float | None:
    """The price at the detection; other programs' rows may have none."""
    price = row.pattern_data.get("price", (row.levels or {}).get("entry"))
    return float(price) if isinstance(price, (int, float)) else None


def _as_record(row: StoredPattern) -> dict[str, Any]:
    return {
        "symbol": row.symbol,
        "timeframe": row.timeframe,
        "pattern": row.pattern,
        "direction": row.direction,
        "confidence": row.confidence,
        "strength": signal_strength(row.confidence),
        "bar": _bar_key(row),
        "close": _close(row),
        "levels": dict(row.levels or {}),
        "detection_timestamp": row.detection_timestamp.astimezone(UTC),
        "revision": row.revision,
        "pattern_data": dict(row.pattern_data),
    }


def _write_csv(rows: Iterable[StoredPattern]) -> None:
    writer = csv.DictWriter(sys.stdout, _CSV_COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        record = _as_record(row)
        levels = {name: record["levels"].get(name) for name in _LEVELS}
        instant = record["detection_timestamp"].isoformat()
        writer.writerow({**record, **levels, "bar": record["bar"].isoformat(), "detection_timestamp": instant})
