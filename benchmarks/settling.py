"""How many bars it takes until the first bar fed in no longer matters: the warm-up, next to the first value."""

import numpy as np
from rich.table import Table

from benchmarks.bars import WITH_CANDLESTICKS, walk
from tickstock_pipeline.indicators.engine import IndicatorProgram
from tickstock_pipeline.indicators.inputs import Inputs
from tickstock_pipeline.market.bar import Bars

BARS = 6000
STARTS = (0, 100, 200, 300)
TOLERANCES = (1e-2, 1e-6, 1e-9)


def measure() -> list[Table]:
    """Bars after the first until each definition is within a tolerance of what a series of full length gives."""
    table = Table(title="Bars to the first value, and to a value that no longer depends on the first bar")
    table.add_column("definition")
    table.add_column("first value", justify="right")
    for tolerance in TOLERANCES:
        table.add_column(f"settled to {tolerance:g}", justify="right")
    bars = walk(3, BARS)
    for definition in WITH_CANDLESTICKS.indicators:
        program = IndicatorProgram([definition])
        settled = np.max([_settled(program, bars, start) for start in STARTS], axis=0)
        cells = [str(max(int(count), definition.min_bars_required)) for count in settled]
        table.add_row(definition.name, str(definition.min_bars_required), *cells)
    table.caption = (
        f"Relative to the values' own size (a share of 100 for those that range from 0 to 100); worst of {len(STARTS)} "
        f"series cut {BARS // 2} bars into one of {BARS}."
    )
    return [table]


def _settled(program: IndicatorProgram, bars: Bars, start: int) -> list[int]:
    cut = BARS // 2 + start
    whole = program.run(Inputs(bars))[cut:]
    part = program.run(Inputs(bars[cut:]))
    scale = np.nanmedian(np.abs(whole), axis=0)
    difference = np.nan_to_num((np.abs(part - whole) / scale).max(axis=1), nan=np.inf)
    counts = []
    for tolerance in TOLERANCES:
        beyond = np.flatnonzero(difference > tolerance)
        counts.append(int(beyond[-1]) + 2 if len(beyond) else 1)
    return counts
