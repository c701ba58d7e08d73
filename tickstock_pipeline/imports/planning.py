"""From a stored job to its symbols, timeframes and dates.

Planning reads the universe and stores what it finds, in one transaction with the job's new state: a job is planned once
or not at all, whichever of our processes gets to it first.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa

from tickstock_pipeline.errors import JobError, UniverseError
from tickstock_pipeline.imports.job_fields import MOST_SYMBOLS
from tickstock_pipeline.imports.message import JobRequest
from tickstock_pipeline.market.universe import universe_key
from tickstock_pipeline.storage.jobs import JobState, end_job, mark_started, read_job, store_plan
from tickstock_pipeline.storage.symbols import add_symbols
from tickstock_pipeline.storage.universe_files import read_universe_file
from tickstock_pipeline.storage.universes import resolve_universe, store_universe

MOST_SYMBOLS_IN_A_RUN = 50

_DAYS_IN_A_YEAR = 365.2425


@dataclass(frozen=True)
class Surroundings:
    """What planning depends on beside the request.

    Attributes
    ----------
    universe_folder : of universe files
    first_year : of the partition grid; nothing before it is imported
    """

    universe_folder: Path
    first_year: int


def plan_job(engine: sa.Engine, request: JobRequest, surroundings: Surroundings, now: datetime | None = None) -> None:
    """Work out what a submitted job means; one that cannot be done fails with the reason, and only it.

    Does nothing for a job that is planned already, or has ended.

    Parameters
    ----------
    now : the end of the years asked for
    """
    today = (now or datetime.now(UTC)).date()
    try:
        with engine.begin() as connection:
            job = read_job(connection, request.job_id, lock=True)
            if job is None or job.status is not JobState.SUBMITTED:
                return
            symbols = _symbols(connection, request, surroundings.universe_folder, today)
            dates = _dates(request, surroundings.first_year, today) if request.timeframes else None
            store_plan(connection, request.job_id, symbols, request.timeframes, dates)
            if not request.timeframes:
                add_symbols(connection, symbols)
                mark_started(connection, request.job_id)
                end_job(connection, request.job_id, JobState.COMPLETED)
    except (JobError, UniverseError) as error:
        with engine.begin() as connection:
            end_job(connection, request.job_id, JobState.FAILED, " ".join(str(error).split()))


def _symbols(connection: sa.Connection, request: JobRequest, folder: Path, today: date) -> list[str]:
    if request.symbols:
        return list(request.symbols)
    if request.csv_file:
        universe = read_universe_file(folder, request.csv_file)
        if request.universe_key:
            universe = replace(universe, key=universe_key(request.universe_key))
    else:
        universe = resolve_universe(connection, folder, request.universe_key)
    if len(universe.members) > MOST_SYMBOLS:
        raise JobError(
            f"Universe {universe.key} has {len(universe.members)} symbols; {MOST_SYMBOLS} is the most that one job "
            "may have.",
            advice="Split the file.",
        )
    # members that come from the tables are stored already
    if universe.source or universe.parts:
        store_universe(connection, universe, today)
    return list(universe.symbols)


def _dates(request: JobRequest, first_year: int, today: date) -> tuple[date, date]:
    grid_begins = date(first_year, 1, 1)
    last = min(request.last_date or today, today)
    # counted from a date that a stranger names, the years may lead to before the first date that there is
    first = request.first_date or (_years_before(last, request.years) if last >= grid_begins else grid_begins)
    first = max(first, grid_begins)
    if first > last:
        raise JobError(
            f"The dates asked for, up to {last}, are all before {first_year}, the first year of the grid, or in the "
            "future.",
            advice="Ask for later dates, or set TICKSTOCK_FIRST_YEAR to an earlier year and restart.",
        )
    return first, last


def _years_before(last: date, years: float) -> date:
    whole = int(years)
    try:
        day = last.replace(year=last.year - whole)
    except ValueError:  # 29 February
        day = last.replace(year=last.year - whole, day=28)
    return day - timedelta(days=round((years - whole) * _DAYS_IN_A_YEAR))


def job_years(dates: tuple[date, date]) -> range:
    """The calendar years that a range of dates touches: what is imported is whole years."""
    return range(dates[0].year, dates[1].year + 1)


def chunks_of(symbols: Sequence[str], order: Mapping[str, int]) -> list[list[str]]:
    """Cut symbols into runs.

    A run is a range of the grid, so its symbols must stand side by side there.

    Parameters
    ----------
    symbols : of a job, in any order
    order : each symbol's place on the grid

    Returns
    -------
    Chunks in the order of the grid, of symbols in the order of the grid, 50 at most.
    """
    chunks: list[list[str]] = []
    for stretch in _stretches(sorted(symbols, key=order.__getitem__), order):
        chunks += [
            stretch[start : start + MOST_SYMBOLS_IN_A_RUN] for start in range(0, len(stretch), MOST_SYMBOLS_IN_A_RUN)
        ]
    return chunks


def _stretches(symbols: Sequence[str], order: Mapping[str, int]) -> Iterator[list[str]]:
    stretch: list[str] = []
    for symbol in symbols:
        if stretch and order[symbol] != order[stretch[-1]] + 1:
            yield stretch
            stretch = []
        stretch.append(symbol)
    if stretch:
        yield stretch
