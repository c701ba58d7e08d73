"""Provider ``sample``: daily bars from a CSV file, so that everything runs without an account or the internet.

The default file ships in the package ``bokeh_sampledata``: AAPL, FB, GOOG, IBM and MSFT, 2000-03-01 to 2013-03-01,
as traded. Any other file of the same columns can stand in for it.

1. The file is read once, at first use, row by row into compact columns for each symbol.
2. A row that is not a date and numbers is set aside as refused. So that an import by years reports it, and once, it
   counts as being where the row before it is; so does a row whose date is not a trading day.
3. A fetch cuts its range out of the columns by binary search and has it checked like every provider's bars.
"""

import csv
import gzip
import importlib.util
import io
import zlib
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from pathlib import Path

import numpy as np

from tickstock_pipeline.errors import ProviderError, UnknownSymbolError
from tickstock_pipeline.market.adjustment import Dividend, Split
from tickstock_pipeline.market.bar import FloatArray, RefusedBar, TimeArray
from tickstock_pipeline.market.calendar import TradingCalendar, trading_calendar
from tickstock_pipeline.market.symbol import normalise_symbol
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.providers.base import FetchedBars, Listing, validated
from tickstock_pipeline.providers.corporate_actions import splits_by_day

_PACKAGE = "bokeh_sampledata"
_PACKAGED_FILE = Path("_data", "stocks.csv.gz")
# Apple's and Microsoft's investor relations pages; the package itself has adjusted closes only
_PACKAGED_SPLITS = (
    Split("AAPL", date(2000, 6, 21), 2.0),
    Split("AAPL", date(2005, 2, 28), 2.0),
    Split("MSFT", date(2003, 2, 18), 2.0),
)
_NUMBERS = ("open", "high", "low", "close", "volume")
_COLUMNS = ("ticker", "date", *_NUMBERS)
_SPLIT_COLUMNS = ("symbol", "ex_date", "ratio")


class SampleProvider:
    """Daily bars from a CSV file with the columns ticker, date, open, high, low, close and volume.

    Parameters
    ----------
    path : plain or ``.gz`` CSV in UTF-8, further columns are ignored; its splits are read from
        ``<stem>.splits.csv`` (symbol, ex_date, ratio) next to it, if there is one. None: the packaged file.
    """

    name = "sample"
    timeframes = frozenset({Timeframe.DAILY})
    concurrency = 1  # there is nothing to wait for

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._calendar = trading_calendar()

    def fetch_bars(self, symbol: str, timeframe: Timeframe, first: date, last: date) -> FetchedBars:
        """See :meth:`HistoricalProvider.fetch_bars`."""
        if timeframe not in self.timeframes:
            raise ProviderError(
                f"Provider sample has no {timeframe.value} bars.",
                advice="Ask it for daily bars; weekly and monthly ones are rolled up from them.",
            )
        series = self._of(symbol)
        low = int(np.searchsorted(series.position, np.datetime64(first, "D")))
        high = max(low, int(np.searchsorted(series.position, np.datetime64(last, "D"), side="right")))
        open_, high_, low_, close, volume = series.numbers[:, low:high]
        return validated(
            symbol,
            timeframe,
            time=series.time[low:high],
            open_=open_,
            high=high_,
            low=low_,
            close=close,
            volume=volume,
            calendar=self._calendar,
            unreadable=[
                refused
                for position, refused in series.unreadable
                if np.isnat(position) or np.datetime64(first) <= position <= np.datetime64(last)
            ],
        )

    def fetch_splits(self, symbol: str) -> tuple[Split, ...]:
        """See :meth:`HistoricalProvider.fetch_splits`."""
        self._of(symbol)
        return tuple(split for split in self._splits if split.symbol == symbol)

    def fetch_dividends(self, symbol: str) -> tuple[Dividend, ...]:
        """The file has none."""
        self._of(symbol)
        return ()

    def earliest(self, timeframe: Timeframe, today: date) -> date | None:
        """Whatever the file begins with."""
        return None

    def catalogue(self) -> tuple[Listing, ...]:
        """The symbols in the order of the file; one without a single trading date is left out."""
        return tuple(
            Listing(symbol, symbol, series.position[0].item(), series.position[-1].item())
            for symbol, series in self._series.items()
            if self._calendar.is_session(series.position[:1]).any()
        )

    def _of(self, symbol: str) -> "_Series":
        series = self._series.get(symbol)
        if series is None:
            some = ", ".join(list(self._series)[:20])
            raise UnknownSymbolError(
                f"Provider sample has no symbol {symbol!r}.", advice=f"{_file_of(self._path)} has: {some or 'no rows'}"
            )
        return series

    @cached_property
    def _series(self) -> dict[str, "_Series"]:
        return {symbol: rows.series(self._calendar) for symbol, rows in _read_rows(_file_of(self._path)).items()}

    @cached_property
    def _splits(self) -> tuple[Split, ...]:
        if self._path is None:
            return _PACKAGED_SPLITS
        path = self._path.with_name(f"{self._path.name.removesuffix('.gz').removesuffix('.csv')}.splits.csv")
        return _read_splits(path) if path.exists() else ()


@dataclass(frozen=True, slots=True)
class _Series:
    """One symbol's rows, sorted by ``position``, the date under which a row is found."""

    position: TimeArray
    time: TimeArray
    numbers: FloatArray
    unreadable: tuple[tuple[np.datetime64, RefusedBar], ...]


@dataclass(slots=True)
class _Rows:
    """One symbol's rows while they are being read."""

    days: "array[int]" = field(default_factory=lambda: array("q"))
    numbers: "array[float]" = field(default_factory=lambda: array("d"))
    unreadable: list[tuple[int, RefusedBar]] = field(default_factory=list)
    """Each with the number of readable rows before it."""

    def series(self, calendar: TradingCalendar) -> _Series:
        # date.toordinal() counts from 0001-01-01 as 1
        days = np.datetime64("0001-01-01", "D") + (np.array(self.days, np.int64) - 1)
        is_session = calendar.is_session(days)
        position = days
        if is_session.any():
            # a row whose date cannot be right is found where the one before it is, the first ones with the first good
            row = np.maximum.accumulate(np.where(is_session, np.arange(len(days)), -1))
            position = days[np.where(row < 0, int(np.argmax(is_session)), row)]
        nowhere = np.datetime64("NaT", "D")
        unreadable = tuple(
            (position[max(before - 1, 0)] if len(position) else nowhere, refused) for before, refused in self.unreadable
        )
        order = np.argsort(position, kind="stable")
        numbers = np.array(self.numbers, np.float64).reshape(-1, len(_NUMBERS)).T
        return _Series(position[order], days[order], np.ascontiguousarray(numbers[:, order]), unreadable)


def _file_of(path: Path | None) -> Path:
    if path is not None:
        return path
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ProviderError(
            f"The package {_PACKAGE}, which holds the sample data, is not installed.",
            advice=f"Run `pip install {_PACKAGE.replace('_', '-')}`, or set TICKSTOCK_SAMPLE_FILE to a CSV file.",
        )
    return Path(spec.submodule_search_locations[0]) / _PACKAGED_FILE


@contextmanager
def _csv_rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[list[int], int, Iterator[tuple[int, list[str]]]]]:
    """A file's rows, with where the ``columns`` are in them, the number of fields, and each row's line number."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as raw:
            reader = csv.reader(io.TextIOWrapper(raw, encoding="utf-8-sig", newline=""), skipinitialspace=True)
            header = [name.strip().lower().replace(" ", "_") for name in next(reader, [])]
            missing = [name for name in columns if name not in header]
            if missing:
                raise ProviderError(
                    f"{path} has no column {', '.join(missing)}.",
                    advice=f"Its first line must name the columns: {','.join(columns)}",
                )
            places = [header.index(name) for name in columns]
            yield places, len(header), ((reader.line_num, row) for row in reader if any(row))
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise ProviderError(
            f"{path} cannot be read: {error}", advice="Give a CSV file in UTF-8, plain or compressed as .gz."
        ) from error


def _read_rows(path: Path) -> dict[str, _Rows]:
    rows_of: dict[str, _Rows] = {}
    symbols: dict[str, str] = {}
    symbol = ""
    with _csv_rows(path, _COLUMNS) as (places, width, lines):
        for line, row in lines:
            fault = "" if len(row) == width else f"the row has {len(row)} fields where the header has {width}"
            fields = [row[place] if place < len(row) else "" for place in places]
            try:
                symbol = symbols.get(fields[0]) or symbols.setdefault(fields[0], normalise_symbol(fields[0]))
            except ValueError as error:
                if not symbol:
                    raise ProviderError(
                        f"{path}, line {line}: {error}", advice="Correct or remove the line."
                    ) from error
                fault = str(error)
            rows = rows_of.setdefault(symbol, _Rows())
            try:
                day = date.fromisoformat(fields[1]).toordinal()
                numbers = [float(text) for text in fields[2:]]
            except ValueError:
                fault = fault or _fault_of(fields)
            if fault:
                # PostgreSQL stores no NUL
                fields = [text.replace("\0", "\N{REPLACEMENT CHARACTER}") for text in fields]
                raw: dict[str, object] = {"line": line, **dict(zip(_COLUMNS, fields, strict=True))}
                rows.unreadable.append((len(rows.days), RefusedBar(symbol, Timeframe.DAILY, fields[1], fault, raw)))
            else:
                rows.days.append(day)
                rows.numbers.extend(numbers)
    return rows_of


def _fault_of(fields: list[str]) -> str:
    try:
        date.fromisoformat(fields[1])
    except ValueError:
        return "the date is not a date of the form YYYY-MM-DD"
    for name, text in zip(_NUMBERS, fields[2:], strict=True):
        if not text.strip():
            return f"{name} is missing"
        try:
            float(text)
        except ValueError:
            return f"{name} is not a number"
    return ""


def _read_splits(path: Path) -> tuple[Split, ...]:
    listed: dict[str, list[tuple[date, float]]] = {}
    with _csv_rows(path, _SPLIT_COLUMNS) as (places, _, lines):
        for line, row in lines:
            try:
                symbol, ex_date, ratio = (row[place] for place in places)
                split = Split(normalise_symbol(symbol), date.fromisoformat(ex_date), float(ratio))
            except (ValueError, IndexError) as error:
                # a bar can be left out; a split that is left out makes every price before it wrong
                raise ProviderError(f"{path}, line {line}: {error}", advice="Correct or remove the line.") from error
            listed.setdefault(split.symbol, []).append((split.ex_date, split.ratio))
    splits = [split for symbol, found in listed.items() for split in splits_by_day(symbol, found)]
    return tuple(sorted(splits, key=lambda split: (split.ex_date, split.symbol)))
