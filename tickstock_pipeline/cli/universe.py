"""``tickstock universe``: lists of symbols, in files and in the tables."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import sqlalchemy as sa
import typer
from rich.table import Table
from rich.text import Text

from tickstock_pipeline.cli.terminal import JsonOption, err, new_table, print_json, print_result
from tickstock_pipeline.market.universe import Universe
from tickstock_pipeline.runtime.attach import attached_settings, find_running_services, with_running_services
from tickstock_pipeline.settings import Settings
from tickstock_pipeline.storage.engine import create_engine
from tickstock_pipeline.storage.schema import require_head
from tickstock_pipeline.storage.universe_files import read_any_file
from tickstock_pipeline.storage.universes import (
    KnownUniverse,
    list_universes,
    resolve_universe,
    seed_universe,
    store_universe,
)

app = typer.Typer(no_args_is_help=True, help="List, show, load and check universes: named lists of symbols.")

_LIST_EXAMPLES = """Examples:

tickstock universe list

tickstock universe list --json | jq -r '.[].key'
"""
_SHOW_EXAMPLES = """Examples:

tickstock universe show dow_30

tickstock universe show SPY:QQQ --json | jq -r '.members[].symbol'

tickstock universe show sp_500 --on 2026-03-01
"""
_LOAD_EXAMPLES = """Examples:

tickstock universe load dow_30.csv

tickstock universe load ~/lists/2026-03.csv --key sp_500 --as-of 2026-03-01

tickstock universe load etf_sectors.csv --register
"""
_CHECK_EXAMPLES = """Examples:

tickstock universe check sp_500.csv

tickstock universe check sp_500.csv --json | jq '.problems'
"""
_MAX_SHOWN_SYMBOLS = 10

FileArgument = Annotated[
    str, typer.Argument(metavar="FILE", help="A CSV file: its path, or its name in the universe folder.")
]
KeyOption = Annotated[
    str | None, typer.Option("--key", metavar="KEY", help="Key of the universe; by default the file's name.")
]


@app.command("list", epilog=_LIST_EXAMPLES)
def list_(as_json: JsonOption = False) -> None:
    """List the universes that can be imported: files of the universe folder, stored ones, and those that ship with it.

    Without a running or configured database, the files alone.
    """
    settings = Settings.load()
    with _connection_or_none(settings) as connection:
        if connection is None and not as_json:
            err.print("No database: universes that are stored are not shown.")
        found = list_universes(connection, settings.universe_folder)
    if as_json:
        print_json([asdict(universe) for universe in found])
    else:
        print_result(_list_table(found))


@app.command("show", epilog=_SHOW_EXAMPLES)
def show(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Such as dow_30, SPY, SPY:QQQ or dow_30.csv.")],
    on: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], metavar="DATE", help="The members of that date, where it is stored."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the members of a universe, in the order of its list."""
    settings = Settings.load()
    with _connection_or_none(settings) as connection:
        universe = resolve_universe(connection, settings.universe_folder, key, on=None if on is None else on.date())
    if as_json:
        print_json(_as_record(universe))
        return
    table = new_table(f"Universe {universe.key}", "Symbol", "Name", "Sector", "Industry")
    for member in universe.members:
        table.add_row(*(Text(text) for text in (member.symbol, member.name, member.sector, member.industry)))
    print_result(table)
    typer.echo(f"\nSymbols: {len(universe.members):,}.")
    _mention_problems(universe)


@app.command("load", epilog=_LOAD_EXAMPLES)
def load(
    file: FileArgument,
    key: KeyOption = None,
    as_of: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], metavar="DATE", help="Date of the list; by default today's in UTC."),
    ] = None,
    register: Annotated[
        bool, typer.Option("--register", help="Register its symbols too, so that they become partitions.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Store a list as the newest version of a universe; what was a member before stays in its history."""
    settings = Settings.load()
    universe = read_any_file(settings.universe_folder, file, key)
    # in UTC, as import jobs date what they store
    day = (as_of or datetime.now(UTC)).date()
    registered: list[str] = []
    engine = create_engine(attached_settings(settings).database_dsn(), poolclass=sa.NullPool)
    with engine.begin() as connection:
        require_head(connection)
        if register:
            change, registered = seed_universe(connection, universe, day)
        else:
            change = store_universe(connection, universe, day)
    if as_json:
        print_json({"key": universe.key, "as_of": day, **asdict(change), "registered": registered})
        return
    typer.echo(f"Stored universe {universe.key} as of {day}. Symbols: {len(universe.members):,}.")
    for what, symbols in (("Joined", change.joined), ("Left", change.left), ("Registered", registered)):
        if symbols:
            some = ", ".join(symbols[:_MAX_SHOWN_SYMBOLS]) + (", …" if len(symbols) > _MAX_SHOWN_SYMBOLS else "")
            typer.echo(f"{what}: {len(symbols):,} ({some}).")
    _mention_problems(universe)


@app.command("check", epilog=_CHECK_EXAMPLES)
def check(file: FileArgument, as_json: JsonOption = False) -> None:
    """Print every line of a universe file that would not be used, with the reason; nothing is stored.

    Exit code 1 if there is one.
    """
    universe = read_any_file(Settings.load().universe_folder, file)
    if as_json:
        print_json(_as_record(universe))
    else:
        if universe.problems:
            table = new_table(f"Lines of {universe.source} that are not used")
            table.add_column("Line", justify="right")
            table.add_column("Symbol")
            table.add_column("Why")
            for problem in universe.problems:
                table.add_row(str(problem.line), Text(problem.text), Text(problem.reason))
            print_result(table)
        typer.echo(f"Symbols: {len(universe.members):,}, lines that are not used: {len(universe.problems):,}.")
    if universe.problems:
        raise typer.Exit(1)


@contextmanager
def _connection_or_none(settings: Settings) -> Iterator[sa.Connection | None]:
    attached = with_running_services(settings, find_running_services(settings.home.absolute()))
    if attached.database_url is None:
        yield None
        return
    engine = create_engine(attached.database_dsn(), poolclass=sa.NullPool)
    with engine.connect() as connection:
        require_head(connection)
        yield connection


def _list_table(universes: list[KnownUniverse]) -> Table:
    table = new_table("Universes", "Key")
    table.add_column("Symbols", justify="right")
    table.add_column("From")
    table.add_column("Stored as of")
    table.add_column("Also known as")
    for universe in universes:
        count = Text("?", style="red") if universe.n_symbols is None else Text(f"{universe.n_symbols:,}")
        place = f"{universe.source}: {universe.file}" if universe.file else universe.source
        table.add_row(
            Text(universe.key),
            count,
            Text(universe.fault or place, style="red" if universe.fault else ""),
            "" if universe.stored_as_of is None else universe.stored_as_of.isoformat(),
            ", ".join(universe.funds),
        )
    return table


def _as_record(universe: Universe) -> dict[str, object]:
    return {
        "key": universe.key,
        "members": [asdict(member) for member in universe.members],
        "problems": [asdict(problem) for problem in universe.problems],
    }


def _mention_problems(universe: Universe) -> None:
    if universe.problems:
        err.print(
            Text(
                f"Lines that are not used: {len(universe.problems):,}; "
                "`tickstock universe check FILE` lists them with the reasons."
            )
        )
