"""A candlestick picture with the detections marked, small enough to live in an event's metadata.

Drawn as SVG by hand: measured 1 ms and 6 kB a picture, against 57 ms and 11 kB for a PNG of a plotting library, and a
backfill draws one for every partition.
"""

import base64
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

import numpy as np

from tickstock_pipeline.market.bar import Bars

_WIDTH, _HEIGHT, _TOP, _BOTTOM, _RIGHT = 860, 300, 34, 22, 54
_UP, _DOWN, _INK, _GRID = "#1a9850", "#d73027", "#475569", "#e2e8f0"
_MOST_PRICES = 6
_COLOURS = {1: _UP, -1: _DOWN, 0: _INK}
SIGNS = {1: "▲", -1: "▼", 0: "◆"}
"""How a direction is marked: bullish, bearish, neutral."""


@dataclass(frozen=True)
class Mark:
    """One detection: the position of its bar, its pattern and its direction (+1, 0, -1)."""

    index: int
    pattern: str
    direction: int


def candlesticks(bars: Bars, marks: Sequence[Mark], *, title: str, most_bars: int = 80) -> str:
    """SVG of the newest ``most_bars`` bars and of the marks that fall on them."""
    first = max(0, len(bars) - most_bars)
    shown = bars[first:]
    if not len(shown):
        return _document(_text(_WIDTH / 2, _HEIGHT / 2, "no bars", anchor="middle"), title)
    low, high = float(shown.low.min()), float(shown.high.max())
    span = (high - low) or high * 0.01
    low, high = low - 0.09 * span, high + 0.09 * span
    step = (_WIDTH - _RIGHT) / len(shown)

    def x(index: int) -> float:
        return (index + 0.5) * step

    def y(price: float) -> float:
        return _TOP + (high - price) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    parts = [_price_axis(low, high, y), _time_axis(shown, x)]
    half = max(0.6, step * 0.34)
    for is_up, colour in ((True, _UP), (False, _DOWN)):
        wicks, bodies = [], []
        for index in np.flatnonzero((shown.close >= shown.open) == is_up):
            centre = x(int(index))
            upper = y(max(shown.open[index], shown.close[index]))
            lower = y(min(shown.open[index], shown.close[index]))
            wicks.append(f"M{centre:.1f} {y(shown.high[index]):.1f}V{y(shown.low[index]):.1f}")
            bodies.append(
                f"M{centre - half:.1f} {upper:.1f}h{2 * half:.1f}v{max(lower - upper, 0.8):.1f}h{-2 * half:.1f}z"
            )
        parts.append(
            f'<path d="{"".join(wicks)}" stroke="{colour}" fill="none"/><path d="{"".join(bodies)}" fill="{colour}"/>'
        )
    parts.extend(_mark(mark, shown, first, x, y) for mark in marks if mark.index >= first)
    return _document("".join(parts), title)


def as_markdown(svg: str, alternative: str) -> str:
    """Markdown that shows the picture where it is read, without a file or a server."""
    return f"![{alternative}](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})"


def _mark(mark: Mark, shown: Bars, first: int, x: Callable[[int], float], y: Callable[[float], float]) -> str:
    index = mark.index - first
    colour, sign, below = _COLOURS[mark.direction], SIGNS[mark.direction], mark.direction > 0
    height = y(float(shown.low[index])) + 11 if below else y(float(shown.high[index])) - 4
    label = f"<title>{escape(mark.pattern)} {np.datetime_as_string(shown.time[index], unit='D')}</title>"
    return f'<g fill="{colour}">{label}{_text(x(index), height, sign, anchor="middle")}</g>'


def _price_axis(low: float, high: float, y: Callable[[float], float]) -> str:
    step = _round_step((high - low) / _MOST_PRICES)
    digits = max(0, -math.floor(math.log10(step)))
    parts = []
    for price in np.arange(math.ceil(low / step), math.floor(high / step) + 1) * step:
        height = y(float(price))
        parts.append(f'<path d="M0 {height:.1f}H{_WIDTH - _RIGHT}" stroke="{_GRID}"/>')
        parts.append(_text(_WIDTH - _RIGHT + 6, height + 3, f"{price:,.{digits}f}"))
    return "".join(parts)


def _round_step(least: float) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that is not less."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(times * power for times in (1, 2, 5, 10) if times * power >= least)


def _time_axis(shown: Bars, x: Callable[[int], float]) -> str:
    unit: Literal["m", "D"] = "m" if shown.timeframe.is_intraday else "D"
    positions = sorted({0, len(shown) // 3, 2 * len(shown) // 3})
    return "".join(
        _text(x(index), _HEIGHT - 6, str(np.datetime_as_string(shown.time[index], unit=unit)).replace("T", " "))
        for index in positions
    )


def _text(x: float, y: float, words: str, *, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _document(content: str, title: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" '
        f'font-family="sans-serif" font-size="11" fill="{_INK}"><rect width="100%" height="100%" fill="#fff"/>'
        f'<text x="6" y="18" font-size="13" font-weight="bold">{escape(title)}</text>{content}</svg>'
    )
