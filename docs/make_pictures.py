"""Draw a real example of each pattern and of each indicator, for docs/patterns.md and docs/indicators.md.

The clearest detection of each pattern in the sample's daily bars of AAPL, IBM and MSFT, split-adjusted, goes to
``docs/pictures/<pattern>.svg``; its bar has the mark of its direction, the turns of its formation have diamonds. The
rows of each indicator function, over some months of AAPL, go to ``docs/pictures/<function>.svg``::

    python docs/make_pictures.py
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from html import escape
from itertools import pairwise
from pathlib import Path

import numpy as np

from tickstock_pipeline.defs.picture import Mark, candlesticks
from tickstock_pipeline.indicators.defaults import DEFAULT_INDICATORS
from tickstock_pipeline.indicators.engine import compute
from tickstock_pipeline.market.adjustment import split_adjusted
from tickstock_pipeline.market.bar import Bars, FloatArray
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.patterns.defaults import DEFAULT_PATTERNS
from tickstock_pipeline.patterns.detections import Detections
from tickstock_pipeline.patterns.engine import detect
from tickstock_pipeline.providers.sample import SampleProvider

SYMBOLS = ("AAPL", "IBM", "MSFT")
PICTURES = Path(__file__).parent / "pictures"
MOST_BARS = 140
BARS_AROUND = 8
FEWEST_BARS = 40

SHOWN_FROM, SHOWN_BARS = np.datetime64("2007-09-04"), 170
WIDTH, LEFT, TOP, AXIS = 860, 6, 40, 60
COLOURS = ("#2563eb", "#d97706", "#059669", "#db2777", "#7c3aed", "#0891b2")
INK, GRID, PRICE = "#475569", "#e2e8f0", "#94a3b8"
ON_THE_PRICE = ("sma", "ema", "bollinger_bands")
"""Functions whose values are prices; the others have a panel of their own."""
AS_COLUMNS = "macd_hist"


def sample_bars() -> list[Bars]:
    """All daily bars of the sample, split-adjusted."""
    provider = SampleProvider()
    series = []
    for symbol in SYMBOLS:
        fetched = provider.fetch_bars(symbol, Timeframe.DAILY, date(2000, 1, 1), date(2013, 12, 31))
        series.append(split_adjusted(fetched.bars, provider.fetch_splits(symbol)))
    return series


def pattern_picture(bars: Bars, found: Detections) -> str:
    """The picture of the one detection in ``found``."""
    at = int(found.index[0])
    marks = [Mark(at, found.pattern, int(found.direction[0]))]
    for name, values in found.context.items():
        if name.endswith("_bars_ago"):
            marks.append(Mark(at - int(values[0]), name.removesuffix("_bars_ago").replace("_", " "), 0))
    reach = max([int(found.formation_bars[0]), *(at - mark.index for mark in marks)])
    before = int(np.clip(reach + BARS_AROUND, FEWEST_BARS, MOST_BARS))
    first, end = max(0, at - before), at + BARS_AROUND
    title = f"{found.pattern}, {bars.symbol}, {np.datetime_as_string(bars.time[at], unit='D')}"
    shifted = [replace(mark, index=mark.index - first) for mark in marks]
    return candlesticks(bars[first:end], shifted, title=title, most_bars=MOST_BARS + 2 * BARS_AROUND)


def pattern_pictures(series: Sequence[Bars]) -> Iterator[tuple[str, str]]:
    """Name and picture of each pattern."""
    found = [detect(bars, DEFAULT_PATTERNS) for bars in series]
    for position, definition in enumerate(DEFAULT_PATTERNS):
        clearest = max(
            (
                (float(detections[position].confidence.max()), place)
                for place, detections in enumerate(found)
                if len(detections[position])
            ),
        )
        place = clearest[1]
        detections = found[place][position]
        best = int(np.argmax(detections.confidence))
        yield definition.name, pattern_picture(series[place], detections[best : best + 1])


@dataclass(frozen=True)
class Line:
    """Values over the bars shown, and how they are drawn."""

    name: str
    values: FloatArray
    colour: str


def panel(lines: Sequence[Line], top: float, bottom: float) -> str:
    """Lines on one scale of their own, between two heights."""
    every = np.concatenate([line.values for line in lines])
    lowest, highest = float(np.nanmin(every)), float(np.nanmax(every))
    step = (WIDTH - LEFT - AXIS) / (SHOWN_BARS - 1)

    def height(value: float) -> float:
        return top + (highest - value) / (highest - lowest) * (bottom - top)

    parts = []
    for value in np.linspace(lowest, highest, 5)[1:-1]:
        y = height(float(value))
        parts.append(f'<path d="M{LEFT} {y:.0f}H{WIDTH - AXIS}" stroke="{GRID}"/>')
        parts.append(f'<text x="{WIDTH - AXIS + 6}" y="{y + 4:.0f}">{value:,.2f}</text>')
    for line in lines:
        points = [(LEFT + i * step, height(value)) for i, value in enumerate(line.values.tolist())]
        if line.name == AS_COLUMNS:
            shape, thickness = "".join(f"M{x:.1f} {height(0.0):.1f}V{y:.1f}" for x, y in points), 3
        else:
            tenths = [(round(10 * x), round(10 * y)) for x, y in points]
            moves = "".join(f"l{(x - a) / 10:g} {(y - b) / 10:g}" for (a, b), (x, y) in pairwise(tenths))
            shape, thickness = f"M{tenths[0][0] / 10:g} {tenths[0][1] / 10:g}{moves}", 1.4
        parts.append(f'<path d="{shape}" fill="none" stroke="{line.colour}" stroke-width="{thickness}"/>')
    return "".join(parts)


def indicator_picture(title: str, bars: Bars, close: Line, lines: Sequence[Line], *, on_price: bool) -> str:
    """The close and the values of an indicator: over it, or in a panel below it."""
    total = 260 if on_price else 340
    bottom = total - 28
    drawn = (
        panel([close, *lines], TOP, bottom)
        if on_price
        else panel([close], TOP, TOP + 120) + panel(lines, TOP + 140, bottom)
    )
    names = "".join(f'<tspan dx="12" fill="{line.colour}">{escape(line.name)}</tspan>' for line in (close, *lines))
    days = "".join(
        f'<text x="{LEFT + (WIDTH - LEFT - AXIS) * i / SHOWN_BARS:.0f}" y="{total - 8}">'
        f"{np.datetime_as_string(bars.time[i], unit='D')}</text>"
        for i in (0, SHOWN_BARS // 3, 2 * SHOWN_BARS // 3)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {total}" width="{WIDTH}" height="{total}" '
        f'font-family="sans-serif" font-size="11" fill="{INK}"><rect width="100%" height="100%" fill="#fff"/>'
        f'<text x="{LEFT}" y="20"><tspan font-size="13" font-weight="bold">{escape(title)}</tspan>{names}</text>'
        f"{drawn}{days}</svg>"
    )


def indicator_pictures(bars: Bars) -> Iterator[tuple[str, str]]:
    """Name and picture of each indicator function, with the values of all its rows."""
    first = int(np.searchsorted(bars.time, SHOWN_FROM))
    shown = slice(first, first + SHOWN_BARS)
    close = Line("close", bars.close[shown], PRICE)
    for function in dict.fromkeys(row.function for row in DEFAULT_INDICATORS):
        computed = compute(bars, [row for row in DEFAULT_INDICATORS if row.function == function])
        lines = [
            Line(name, column, PRICE if name == AS_COLUMNS else colour)
            for name, column, colour in zip(computed.outputs, computed.values[shown].T, COLOURS, strict=False)
        ]
        # What is drawn first is behind the others
        lines.sort(key=lambda line: line.name != AS_COLUMNS)
        title = f"{function}, {bars.symbol}"
        yield function, indicator_picture(title, bars[shown], close, lines, on_price=function in ON_THE_PRICE)


def main() -> None:
    """Draw them all."""
    PICTURES.mkdir(exist_ok=True)
    series = sample_bars()
    for name, svg in (*pattern_pictures(series), *indicator_pictures(series[0])):
        (PICTURES / f"{name}.svg").write_text(svg + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
