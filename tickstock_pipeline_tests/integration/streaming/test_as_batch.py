"""Live and batch end in the same tables, whatever order the bars come in."""

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tickstock_pipeline.market.bar import Bars, joined
from tickstock_pipeline.messaging.bar_stream import BarStream
from tickstock_pipeline_tests.integration.streaming.as_batch import (
    NOTHING_LEFT,
    analyse_as_batch,
    assert_same,
    contents,
    left_for_batch,
)
from tickstock_pipeline_tests.integration.streaming.conftest import MakeWorker, live, minutes, until_idle


def test_minutes_in_order_over_a_weekend_end_as_in_batch(
    engine: sa.Engine, second_engine: sa.Engine, stream: BarStream, make_worker: MakeWorker
) -> None:
    series = [minutes(symbol, "2026-02-26", "2026-03-03", missing=0.3) for symbol in ("AAPL", "MSFT")]
    worker = make_worker()
    together = sorted((bar for bars in series for bar in live(bars)), key=lambda bar: bar.time)
    for start in range(0, len(together), 100):
        stream.append(together[start : start + 100])
        worker.turn()
    until_idle(worker)
    worker.desk.open_periods.grace_s = 0.0
    until_idle(worker)
    analyse_as_batch(second_engine, series)
    assert_same(contents(engine), contents(second_engine))
    assert left_for_batch(engine) == NOTHING_LEFT


_RUNS = itertools.count()
_ARRIVALS = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**32 - 1),
        "disorder": st.sampled_from([0, 3, 30, 400]),
        "corrected": st.sampled_from([0.0, 0.1, 0.4]),
        "repeated": st.sampled_from([0.0, 0.2]),
        "portion": st.sampled_from([5, 12, 60]),
        "restarts": st.booleans(),
    }
)


def around_a_weekend(symbol: str, seed: int) -> Bars:
    """The end of a Friday and the beginning of a Monday, after two days of history; minutes are missing."""
    friday = minutes(symbol, "2026-02-27", "2026-02-27", seed=seed, missing=0.2)
    monday = minutes(symbol, "2026-03-02", "2026-03-02", seed=seed + 1, missing=0.2)
    return joined([friday[-30:], monday[:35]])


@settings(
    max_examples=4,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(arrivals=_ARRIVALS)
def test_late_corrected_and_repeated_bars_in_any_order_end_as_in_batch(
    engine: sa.Engine, second_engine: sa.Engine, stream: BarStream, make_worker: MakeWorker, arrivals: dict[str, Any]
) -> None:
    run = next(_RUNS)
    random = np.random.default_rng(arrivals["seed"])
    series = [around_a_weekend(f"R{run}{letter}", arrivals["seed"] % 1000) for letter in "AB"]
    final = [bar for bars in series for bar in live(bars)]
    sent = [(bar.time, bar) for bar in final]
    for bar in final:
        if random.random() < arrivals["corrected"]:
            wrong = bar._replace(close=bar.open, volume=bar.volume + 1)
            sent += [(bar.time - 1, wrong), (bar.time + int(random.integers(0, 30)) * 60_000_000, bar)]
        if random.random() < arrivals["repeated"]:
            sent.append((bar.time + int(random.integers(0, 90)) * 60_000_000, bar))
    last_sent: dict[tuple[str, int], Any] = {}
    shuffled = sorted(sent, key=lambda item: item[0] + random.uniform(0, arrivals["disorder"]) * 60_000_000)
    for _, bar in shuffled:
        last_sent[bar.symbol, bar.time] = bar
    worker = make_worker(f"worker-{run}")
    for start in range(0, len(shuffled), arrivals["portion"]):
        stream.append([bar for _, bar in shuffled[start : start + arrivals["portion"]]])
        worker.turn()
        if arrivals["restarts"] and random.random() < 0.1:
            worker.close()
            worker = make_worker(f"worker-{run}-{start}")
    until_idle(worker)
    worker.desk.open_periods.grace_s = 0.0
    until_idle(worker)
    worker.close()
    as_sent = [
        replace(
            bars,
            **{
                name: np.array([getattr(last_sent[bars.symbol, time], name) for time in bars.time.astype(int).tolist()])
                for name in ("open", "high", "low", "close")
            },
            volume=np.array([int(last_sent[bars.symbol, time].volume) for time in bars.time.astype(int).tolist()]),
        )
        for bars in series
    ]
    analyse_as_batch(second_engine, as_sent)
    assert_same(contents(engine, f"R{run}"), contents(second_engine, f"R{run}"))
    assert left_for_batch(engine) == NOTHING_LEFT
