"""What is told of series that were analysed from their stored bars: nothing twice, and what is late as late."""

from collections.abc import Mapping, Sequence

import numpy as np
import sqlalchemy as sa

from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.messaging.pattern_event import LiveDetection
from tickstock_pipeline.storage.analysed_window import AnalysedWindow
from tickstock_pipeline.storage.detections import DetectionKey
from tickstock_pipeline.storage.instants import aware_all
from tickstock_pipeline.storage.live_rows import BarKey
from tickstock_pipeline.storage.outbox import Message
from tickstock_pipeline.storage.patterns import held_revisions
from tickstock_pipeline.streaming.announcing import (
    found_detections,
    keys_of,
    not_yet_told,
    stored_key,
    tell_complete,
    tell_patterns,
)
from tickstock_pipeline.streaming.desk import Desk
from tickstock_pipeline.streaming.replaying import Reading
from tickstock_pipeline.streaming.series_book import ActivePlan

LATE_S = 1.0
"""A bar stored without analysis that long ago counts as made up for; a series replayed for its first bar does not."""


def tell_caught_up(
    connection: sa.Connection,
    desk: Desk,
    active: ActivePlan,
    timeframe: Timeframe,
    readings: Sequence[Reading],
    found: Sequence[DetectionKey],
) -> list[Message]:
    """Messages of bars on the backlog that nobody was told of, and of later bars what the backlog has brought to light.

    Parameters
    ----------
    readings : that have been stored in this transaction, each with a backlog
    found : detections that were new or came back
    """
    by_symbol = {reading.symbol: reading for reading in readings}
    items = [item for reading in readings for item in reading.items]
    revisions = {
        key: row.revision
        for row in found
        for key in [stored_key(row)]
        if _instant(desk, timeframe, min(by_symbol[row.symbol].backlog)) <= key.instant
    }
    on_backlog = set(keys_of(items, {reading.symbol: set(reading.backlog) for reading in readings}))
    if on_backlog - revisions.keys():
        instants = np.array([key.instant for key in on_backlog], "int64").view("datetime64[us]")
        first, last = aware_all(np.array([instants.min(), instants.max()]))
        for row in held_revisions(connection, timeframe, by_symbol, first, last):
            key = stored_key(DetectionKey(*row))
            if key in on_backlog:
                revisions[key] = row[3]
    detections = not_yet_told(connection, found_detections(items, revisions))
    moment = desk.moment(timeframe)
    messages: list[Message] = []

    def was_late(one: LiveDetection) -> bool:
        age_s = _age(by_symbol[one.symbol].backlog, one.bar_time)
        return age_s > LATE_S or desk.is_late(timeframe, one.symbol, one.bar_time)

    for is_late in (False, True):
        chosen = [one for one in detections if is_late == was_late(one)]
        messages += tell_patterns(connection, chosen, moment, is_late=is_late)
    for reading in readings:
        for item in reading.items:
            times = item.analysis.bars.time.astype("datetime64[us]").astype(np.int64)
            stored = item.stored
            places = [at for at in range(stored.start, stored.stop) if int(times[at]) in reading.backlog]
            if places:
                keys: list[BarKey] = [(reading.symbol, int(times[at])) for at in places]
                counts = _counts(item, len(times))
                messages += tell_complete(
                    active.plan.definitions, keys, item.analysis.values[places], [counts[at] for at in places]
                )
    return messages


def _counts(item: AnalysedWindow, n_bars: int) -> list[int]:
    counts = np.zeros(n_bars, np.int64)
    for detections in item.analysis.detections:
        np.add.at(counts, detections.index, 1)
    return list(counts.tolist())


def _age(backlog: Mapping[int, float], bar_time: int) -> float:
    return backlog.get(bar_time, max(backlog.values()))


def _instant(desk: Desk, timeframe: Timeframe, bar_time: int) -> int:
    moment = desk.calendar.instant(timeframe, np.asarray(np.datetime64(bar_time, "us")))
    return int(moment.astype("datetime64[us]").astype(np.int64))
