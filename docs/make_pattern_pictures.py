"""Draw a real example of each pattern for docs/patterns.md.

The clearest detection of each pattern in the sample's daily bars of AAPL, IBM and MSFT, split-adjusted, goes to
``docs/pictures/<pattern>.svg``; its bar has the mark of its direction, the turns of its formation have diamonds::

    python docs/make_pattern_pictures.py
"""

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np

from tickstock_pipeline.defs.picture import Mark, candlesticks
from tickstock_pipeline.market.adjustment import split_adjusted
from tickstock_pipeline.market.bar import Bars
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


def sample_bars() -> list[Bars]:
    """All daily bars of the sample, split-adjusted."""
    provider = SampleProvider()
    series = []
    for symbol in SYMBOLS:
        fetched = provider.fetch_bars(symbol, Timeframe.DAILY, date(2000, 1, 1), date(2013, 12, 31))
        series.append(split_adjusted(fetched.bars, provider.fetch_splits(symbol)))
    return series


def picture(bars: Bars, found: Detections) -> str:
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


def main() -> None:
    """Draw them all."""
    PICTURES.mkdir(exist_ok=True)
    series = sample_bars()
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
        svg = picture(series[place], detections[best : best + 1])
        (PICTURES / f"{definition.name}.svg").write_text(svg + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
