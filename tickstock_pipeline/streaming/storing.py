"""Live bars of one window into the database: bars, their analysis, and what is to be told of them, in one transaction.

1. Check that the shards are still ours. From here to the commit they cannot change hands.
2. Lock the series that nobody else is writing or analysing; the others wait for the next batch, with all their bars.
3. Upsert the bars. Go on with those that are new or different, and with those that another program has stored and
   nobody has analysed; a repeat ends here.
4. Series that hold exactly what was stored before take their bars in; of the others the bars are put on the backlog.
5. Write values, detections and coverage; the coarser periods to roll up; the outbox and the integration log.

If the database refuses, the batch is halved until the bad symbol stands alone. Its bars are stored without analysis if
that is what was refused.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import sqlalchemy as sa

from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.coverage import Coverage, record_coverage
from tickstock_pipeline.storage.detections import replace_detections
from tickstock_pipeline.storage.ledger import InputState, input_states, lock_free_inputs
from tickstock_pipeline.storage.live_rows import BarKey, BarRow, upsert_bars, write_values
from tickstock_pipeline.storage.live_work import (
    InputChange,
    OpenPeriod,
    add_open_periods,
    add_to_backlog,
    follow_input,
)
from tickstock_pipeline.storage.outbox import put
from tickstock_pipeline.streaming.advance import Tail, advance, values_of, window_of_tail
from tickstock_pipeline.streaming.announcing import (
    Moment,
    found_detections,
    stored_key,
    tell_complete,
    tell_patterns,
    tell_retractions,
)
from tickstock_pipeline.streaming.committing import Attempt, Stored, committed
from tickstock_pipeline.streaming.desk import Desk
from tickstock_pipeline.streaming.series_book import ActivePlan, WarmSeries
from tickstock_pipeline.streaming.time_limit import time_limit
from tickstock_pipeline.streaming.unanalysed import Unanalysed, unanalysed_bars
from tickstock_pipeline.streaming.windows import LiveWindow

CORRECTED = "bar corrected"

_NOTHING: Mapping[str, Collection[int]] = MappingProxyType({})


def store_minutes(
    desk: Desk,
    window: LiveWindow,
    rows: Mapping[str, Sequence[BarRow]],
    inserted: Mapping[str, Collection[int]],
    *,
    is_analysed: bool,
    received_at: float,
) -> Stored:
    """Store live minutes of one window.

    Parameters
    ----------
    rows : by symbol, in order of time
    inserted : by symbol, times of bars that another program has stored; they are only analysed
    is_analysed : False leaves the analysis for later
    received_at : Unix seconds

    Raises
    ------
    LeaseLostError
        If one of the shards has been taken over: nothing is stored.
    StorageError
        If the database does not answer.
    """

    def write(connection: sa.Connection, symbols: Sequence[str], with_analysis: bool) -> Attempt:
        attempt = Attempt(window, symbols)
        desk.begin(connection, symbols)
        free = lock_free_inputs(connection, Timeframe.MINUTE, symbols)
        attempt.deferred = set(symbols) - free
        given = [row for symbol in symbols if symbol in free for row in rows.get(symbol, ())]
        stored = {symbol: inserted[symbol] for symbol in symbols if symbol in free and symbol in inserted}
        moment = desk.moment(Timeframe.MINUTE, received_at)
        write_bars_with_analysis(connection, desk, attempt, given, moment, stored, with_analysis=with_analysis)
        attempt.outbox_id = put(connection, attempt.messages)
        return attempt

    return committed(desk, window, sorted(rows.keys() | inserted.keys()), write, is_analysed=is_analysed)


def write_bars_with_analysis(
    connection: sa.Connection,
    desk: Desk,
    attempt: Attempt,
    given: Sequence[BarRow],
    moment: Moment,
    inserted: Mapping[str, Collection[int]] = _NOTHING,
    *,
    with_analysis: bool,
    is_derived: bool = False,
) -> None:
    """Steps 3 to 5 for bars of series that are locked, apart from the outbox.

    Parameters
    ----------
    inserted : as :func:`store_minutes` takes it
    is_derived : the bars are rolled up; one that a provider gave stays as it is
    """
    window = attempt.window
    timeframe, span = window.timeframe, (window.first_input_year, window.year)
    symbols = {row.symbol for row in given} | inserted.keys()
    before = input_states(connection, timeframe, symbols, *span)
    unanalysed = unanalysed_bars(connection, desk, window, inserted, before) if inserted else Unanalysed()
    before |= unanalysed.before
    attempt.written = upsert_bars(connection, timeframe, given, only_over_same_source=is_derived)
    new = {(row.symbol, row.time): row for row in unanalysed.rows}
    new |= {key: row for row in given if (key := (row.symbol, row.time)) in attempt.written}
    attempt.written = dict.fromkeys(new, True) | attempt.written
    if not new:
        return
    changed: dict[str, list[BarRow]] = {}
    for _, row in sorted(new.items()):
        changed.setdefault(row.symbol, []).append(row)
    after = input_states(connection, timeframe, changed, *span)
    if timeframe is Timeframe.MINUTE:
        _open_periods_of_minutes(connection, desk, attempt, before, after)
    active = desk.book.plans.get(timeframe)
    warm: dict[str, WarmSeries] = {}
    if with_analysis and active is not None:
        for symbol in changed:
            one = desk.book.warm(timeframe, symbol, window)
            if one is not None and one.revision == before[symbol].revision:
                warm[symbol] = one
    tails = _advanced(desk, attempt, warm, changed)
    desk.book.drop(timeframe, changed.keys() - tails.keys())
    left = [key for key in attempt.written if key[0] not in tails]
    add_to_backlog(connection, timeframe, sorted(left))
    attempt.waiting = sorted({symbol for symbol, _ in left})
    attempt.n_unanalysed = len(left)
    attempt.n_analysed = len(attempt.written) - len(left)
    if tails and active is not None:
        _write_tails(connection, desk, attempt, active, tails, warm, after, moment)


def _advanced(
    desk: Desk, attempt: Attempt, warm: Mapping[str, WarmSeries], changed: Mapping[str, Sequence[BarRow]]
) -> dict[str, Tail]:
    for one in warm.values():
        one.is_touched = True
    started = time.perf_counter()
    try:
        with time_limit(desk.analysis_s):
            return advance(warm, changed, attempt.window.timeframe)
    except Exception as error:  # noqa: BLE001 - a definition may run any function of a library; bars are stored anyway
        attempt.analysis_error = f"{type(error).__name__}: {error}"
        return {}
    finally:
        attempt.analysis_s = time.perf_counter() - started


def _write_tails(
    connection: sa.Connection,
    desk: Desk,
    attempt: Attempt,
    active: ActivePlan,
    tails: Mapping[str, Tail],
    warm: Mapping[str, WarmSeries],
    after: Mapping[str, InputState],
    moment: Moment,
) -> None:
    window, definitions = attempt.window, active.plan.definitions
    ordered = [tails[symbol] for symbol in sorted(tails)]
    keys: list[BarKey] = []
    newest: list[int] = []
    for tail in ordered:
        keys += [(tail.symbol, bar.time) for bar in tail.bars]
        newest.append(len(keys) - 1)
    values = values_of(ordered)
    write_values(connection, window.timeframe, active.layout, keys, values, newest)
    marked = [tail for tail in ordered if tail.is_revised or any(result.detections for result in tail.results)]
    items = {tail.symbol: window_of_tail(warm[tail.symbol], tail, desk.calendar) for tail in marked}
    replaced = [items[tail.symbol] for tail in marked if tail.is_revised]
    if items:
        found, retracted = replace_detections(connection, window.timeframe, list(items.values()), replaced)
        revisions = {stored_key(key): key.revision for key in found}
        detections = found_detections(items.values(), revisions)
        for is_late in (False, True):
            chosen = [one for one in detections if is_late == desk.is_late(one.timeframe, one.symbol, one.bar_time)]
            attempt.messages += tell_patterns(connection, chosen, moment, is_late=is_late)
        attempt.messages += tell_retractions(connection, window.timeframe, retracted, moment, CORRECTED)
        attempt.n_patterns = len(found)
    first_of_year = desk.windows.of_year(window.timeframe, window.year)[0]
    coverage = []
    for tail in ordered:
        one, state = warm[tail.symbol], after[tail.symbol]
        one.revision, one.n_bars = state.revision, state.n_bars
        if one.is_covered:
            coverage.append(
                Coverage(
                    tail.symbol,
                    window.timeframe,
                    window.year,
                    active.digest,
                    anchor=first_of_year.anchor,
                    covered_through=np.datetime64(tail.bars[-1].time, "us"),
                    n_bars=state.n_bars,
                )
            )
    covered_at = record_coverage(connection, coverage)
    for row in coverage:
        warm[row.symbol].covered_at = covered_at
    told = [at for at, key in enumerate(keys) if key in attempt.written]
    n_patterns = [len(result.detections) for tail in ordered for result in tail.results]
    attempt.messages += tell_complete(
        definitions, [keys[at] for at in told], values[told], [n_patterns[at] for at in told]
    )


def _open_periods_of_minutes(
    connection: sa.Connection,
    desk: Desk,
    attempt: Attempt,
    before: Mapping[str, InputState],
    after: Mapping[str, InputState],
) -> None:
    opened: dict[OpenPeriod, None] = {}
    first_day: dict[str, int] = {}
    for symbol, bar_time in attempt.written:
        hour, day = desk.periods.of(Timeframe.MINUTE, bar_time)
        first_day[symbol] = min(day.key, first_day.get(symbol, day.key))
        opened[OpenPeriod(symbol, hour.timeframe, hour.key)] = None
        opened[OpenPeriod(symbol, day.timeframe, day.key)] = None
    attempt.opened = list(opened)
    add_open_periods(connection, (period for period in opened if period not in desk.open_periods))
    dates = {day: np.datetime64(day, "us").astype("datetime64[D]").item() for day in set(first_day.values())}
    changes = [
        InputChange(
            into,
            symbol,
            attempt.window.year,
            before[symbol].year_revision,
            after[symbol].year_revision,
            dates[day],
        )
        for symbol, day in first_day.items()
        for into in (Timeframe.HOURLY, Timeframe.DAILY)
    ]
    follow_input(connection, changes)
