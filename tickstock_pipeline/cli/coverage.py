"""``tickstock coverage``: how complete the stored bars are, session by session, and how to import what is missing."""

import shlex
from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, Any

import sqlalchemy as sa
import typer
from rich.table import Table
from rich.text import Text

from tickstock_pipeline.batch.completeness import Gap, SymbolCompleteness, completeness, totals
from tickstock_pipeline.batch.standing import Standing
from tickstock_pipeline.cli.arguments import given_symbol
from tickstock_pipeline.cli.terminal import JsonOption, err, new_table, print_json, print_result
from tickstock_pipeline.errors import SettingsError
from tickstock_pipeline.market.calendar import trading_calendar
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.providers.registry import historical_provider
from tickstock_pipeline.runtime.attach import attached_settings
from tickstock_pipeline.settings import Settings
from tickstock_pipeline.storage.engine import create_engine
from tickstock_pipeline.storage.schema import require_head

EXAMPLES = """Examples:

tickstock coverage

tickstock coverage AAPL MSFT --timeframe 1min --gaps

tickstock coverage AAPL --from 2020-01-01 --json | jq '.[].gaps[].command'
"""

_STYLES = {
    Standing.COMPLETE: "green",
    Standing.PARTIAL: "yellow",
    Standing.EMPTY: "dim",
    Standing.FAILED: "red",
    Standing.NOT_ASKED: "yellow",
}
_HEADINGS = {Standing.EMPTY: "Empty there"}


def coverage(
    symbols: Annotated[list[str] | None, typer.Argument(metavar="[SYMBOL]...", help="By default all.")] = None,
    timeframes: Annotated[
        list[Timeframe] | None,
        typer.Option("--timeframe", "-t", case_sensitive=False, help="Only this one; may be repeated."),
    ] = None,
    first: Annotated[
        datetime | None,
        typer.Option("--from", formats=["%Y-%m-%d"], metavar="DATE", help="By default the first year asked for."),
    ] = None,
    last: Annotated[
        datetime | None,
        typer.Option("--to", formats=["%Y-%m-%d"], metavar="DATE", help="By default the last session asked for."),
    ] = None,
    with_gaps: Annotated[
        bool, typer.Option("--gaps", help="List what is missing, why, and the commands that import it.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show which sessions have all the bars that the provider has.

    Each session is complete, partial, empty at the provider, failed or not asked. Hourly, weekly and monthly bars are
    derived; they are counted by year.
    """
    wanted = None if not symbols else [given_symbol(text) for text in symbols]
    calendar = trading_calendar()
    settings = attached_settings(Settings.load())
    engine = create_engine(settings.database_dsn(), poolclass=sa.NullPool)
    with engine.connect() as connection:
        require_head(connection)
        found = {
            timeframe: completeness(connection, calendar, timeframe, wanted, _date(first), _date(last))
            for timeframe in timeframes or Timeframe
        }
    if as_json:
        can_import = _importable(settings)
        print_json(
            [_as_record(timeframe, one, timeframe in can_import) for timeframe, rows in found.items() for one in rows]
        )
        return
    shown = {timeframe: rows for timeframe, rows in found.items() if rows}
    if not shown:
        err.print("No bars were asked for or stored" + (f" of {', '.join(wanted)}." if wanted else "."))
        return
    print_result(*(_summary(timeframe, rows) for timeframe, rows in shown.items()))
    if with_gaps:
        print_result(
            "", *(_gap_table(timeframe, rows) for timeframe, rows in shown.items() if any(r.gaps for r in rows))
        )
        can_import = _importable(settings)
        for timeframe, rows in shown.items():
            commands = import_commands(timeframe, rows)
            if commands and timeframe not in can_import:
                names = ", ".join(settings.providers)
                err.print(f"{names} has no {timeframe} bars; TICKSTOCK_PROVIDER can name a provider that has them.")
                continue
            for command in commands:
                typer.echo(command)
    elif any(one.gaps for rows in shown.values() for one in rows):
        err.print("[bold]tickstock coverage --gaps[/] lists what is missing and how to import it.")


def _importable(settings: Settings) -> frozenset[Timeframe]:
    """What an import can bring: what the provider has, and what is rolled up from what is stored."""
    try:
        provided = historical_provider(settings).timeframes
    except SettingsError:
        # a key that is not set here may be where the import runs, which says so otherwise
        return frozenset(Timeframe)
    return provided | (frozenset(Timeframe) - {Timeframe.MINUTE, Timeframe.DAILY})


def import_commands(timeframe: Timeframe, found: Sequence[SymbolCompleteness]) -> list[str]:
    """The commands that ask for what is missing again: one for all symbols that lack the same years."""
    lacking: dict[tuple[int, int], list[str]] = {}
    for one in found:
        years = [year for gap in one.gaps if gap.can_be_imported for year in (gap.first.year, gap.last.year)]
        if years:
            lacking.setdefault((min(years), max(years)), []).append(one.symbol)
    return [
        _command(timeframe, symbols, date(low, 1, 1), date(high, 12, 31)) for (low, high), symbols in lacking.items()
    ]


def _command(timeframe: Timeframe, symbols: Sequence[str], first: date, last: date) -> str:
    words = ["tickstock", "import", *symbols, "--timeframe", timeframe.value]
    return shlex.join([*words, "--from", first.isoformat(), "--to", last.isoformat()])


def _summary(timeframe: Timeframe, found: Sequence[SymbolCompleteness]) -> Table:
    table = new_table(f"Bars ({timeframe})", "Symbol", "From", "To")
    unit = "Sessions" if timeframe in (Timeframe.MINUTE, Timeframe.DAILY) else "Years"
    table.add_column(unit, justify="right")
    for standing in Standing:
        table.add_column(_HEADINGS.get(standing, standing.value.capitalize()), justify="right")
    table.add_column("Bars", justify="right")
    if timeframe is Timeframe.DAILY:
        table.add_column("Derived", justify="right")
    for one in found:
        derived = [f"{one.provisional:,}"] if timeframe is Timeframe.DAILY else []
        table.add_row(
            Text(one.symbol),
            one.first.isoformat(),
            one.last.isoformat(),
            f"{one.expected:,}",
            *(_count(standing, one.counts[standing]) for standing in Standing),
            f"{one.bars:,}",
            *derived,
        )
    if len(found) > 1:
        counts = totals(found)
        table.add_section()
        table.add_row(
            f"{len(found):,} symbols",
            min(one.first for one in found).isoformat(),
            max(one.last for one in found).isoformat(),
            f"{sum(counts.values()):,}",
            *(_count(standing, counts[standing]) for standing in Standing),
            f"{sum(one.bars for one in found):,}",
            *([f"{sum(one.provisional for one in found):,}"] if timeframe is Timeframe.DAILY else []),
        )
    return table


def _count(standing: Standing, count: int) -> Text:
    return Text(f"{count:,}", style=_STYLES[standing] if count else "dim")


def _gap_table(timeframe: Timeframe, found: Sequence[SymbolCompleteness]) -> Table:
    table = new_table(f"Gaps ({timeframe})", "Symbol", "From", "To")
    table.add_column("Sessions" if timeframe in (Timeframe.MINUTE, Timeframe.DAILY) else "Years", justify="right")
    table.add_column("")
    table.add_column("Reason")
    for one in found:
        for gap in one.gaps:
            table.add_row(
                Text(one.symbol),
                gap.first.isoformat(),
                gap.last.isoformat(),
                f"{gap.count:,}",
                Text(gap.standing, style=_STYLES[gap.standing]),
                Text(gap.reason),
            )
    return table


def _as_record(timeframe: Timeframe, one: SymbolCompleteness, can_import: bool) -> dict[str, Any]:
    return {
        "symbol": one.symbol,
        "timeframe": timeframe.value,
        "first": one.first,
        "last": one.last,
        "unit": "session" if timeframe in (Timeframe.MINUTE, Timeframe.DAILY) else "year",
        "expected": one.expected,
        **{standing.name.lower(): count for standing, count in one.counts.items()},
        "bars": one.bars,
        "provisional": one.provisional,
        "gaps": [_gap_record(timeframe, one.symbol, gap, can_import) for gap in one.gaps],
    }


def _gap_record(timeframe: Timeframe, symbol: str, gap: Gap, can_import: bool) -> dict[str, Any]:
    return {
        "first": gap.first,
        "last": gap.last,
        "count": gap.count,
        "standing": gap.standing.name.lower(),
        "reason": gap.reason,
        "command": _command(timeframe, [symbol], gap.first, gap.last) if can_import and gap.can_be_imported else None,
    }


def _date(moment: datetime | None) -> date | None:
    return None if moment is None else moment.date()
