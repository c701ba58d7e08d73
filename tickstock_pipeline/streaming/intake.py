"""From entries of the streams to bars that may be stored: decoded, judged, the last revision of each key.

What breaks a rule of ``market.bar`` or of the calendar is refused with the reason, for the same reasons as a
provider's answer; what lies outside the regular session is counted and dropped.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from tickstock_pipeline.market.bar import RefusedBar
from tickstock_pipeline.market.calendar import TradingCalendar
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.messaging.bar_event import MISSED, LiveBar, decode
from tickstock_pipeline.messaging.bar_reader import Entry
from tickstock_pipeline.messaging.bar_stream import VIA_DATABASE, shard_of
from tickstock_pipeline.storage.live_rows import BarKey, BarRow
from tickstock_pipeline.streaming.judging import judged, refused_bar

_RAW_SHOWN = 2000


@dataclass(slots=True)
class Intake:
    """What a batch of entries holds.

    Attributes
    ----------
    rows : bars to store by symbol, each symbol's in order of time; the last revision of each key
    inserted : times of bars that another program has stored by symbol; what is stored counts, not the entry
    late : those of ``inserted`` that were stored while nobody listened
    entries : by symbol and time, the entry whose bar is in ``rows``
    by_symbol : all entries with a readable symbol
    refused : (source, bar) of those that broke a rule
    others : entries that are unreadable or in another shard's stream, so that no symbol's order is at stake
    """

    rows: dict[str, list[BarRow]] = field(default_factory=dict)
    inserted: dict[str, set[int]] = field(default_factory=dict)
    late: set[BarKey] = field(default_factory=set)
    entries: dict[BarKey, Entry] = field(default_factory=dict)
    by_symbol: dict[str, list[Entry]] = field(default_factory=dict)
    refused: list[tuple[str, RefusedBar]] = field(default_factory=list)
    others: list[Entry] = field(default_factory=list)
    outside_session: int = 0


def taken_in(entries: Iterable[Entry], n_shards: int, calendar: TradingCalendar, now: np.datetime64) -> Intake:
    """Judge entries.

    Parameters
    ----------
    entries : those of a symbol in their order
    n_shards : of all streams; what is in another stream than its symbol's is refused
    now : UTC; a bar that has hardly begun by then is refused
    """
    intake = Intake()
    read: list[tuple[Entry, LiveBar]] = []
    for entry in entries:
        try:
            bar = decode(entry.raw)
        except ValueError as error:
            intake.others.append(entry)
            intake.refused.append(("stream", _unreadable(entry, str(error))))
            continue
        if shard_of(bar.symbol, n_shards) != entry.shard:
            # another worker may have that shard
            intake.others.append(entry)
            intake.refused.append((bar.source, refused_bar(bar, "it is in the stream of other symbols")))
            continue
        intake.by_symbol.setdefault(bar.symbol, []).append(entry)
        if bar.timeframe is Timeframe.MINUTE:
            read.append((entry, bar))
        else:
            intake.refused.append((bar.source, refused_bar(bar, "only 1min bars are taken live")))
    _add_judged(intake, read, calendar, now)
    for rows in intake.rows.values():
        rows.sort(key=lambda row: row.time)
    return intake


def _add_judged(
    intake: Intake, read: Sequence[tuple[Entry, LiveBar]], calendar: TradingCalendar, now: np.datetime64
) -> None:
    judgement = judged([bar for _, bar in read], calendar, now)
    intake.refused += judgement.refused
    intake.outside_session += judgement.outside_session
    latest: dict[BarKey, BarRow] = {}
    for (entry, bar), is_good in zip(read, judgement.is_good, strict=True):
        if is_good:
            key = (bar.symbol, bar.time)
            intake.entries[key] = entry
            if entry.via == VIA_DATABASE:
                intake.inserted.setdefault(bar.symbol, set()).add(bar.time)
                if bar.quality == MISSED:
                    intake.late.add(key)
                latest.pop(key, None)
            else:
                latest[key] = BarRow(
                    bar.symbol, bar.time, bar.open, bar.high, bar.low, bar.close, round(bar.volume), bar.source
                )
    for row in latest.values():
        intake.rows.setdefault(row.symbol, []).append(row)


def _unreadable(entry: Entry, reason: str) -> RefusedBar:
    text = entry.raw.decode("utf-8", errors="replace")[:_RAW_SHOWN]
    return RefusedBar("", Timeframe.MINUTE, "", reason, {"message": text})
