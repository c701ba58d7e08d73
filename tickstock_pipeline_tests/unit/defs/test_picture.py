"""The candlestick picture is well-formed, shows what it is given, and is small."""

import base64
from xml.etree import ElementTree

import numpy as np
import pytest

from tickstock_pipeline.defs.picture import SIGNS, Mark, as_markdown, candlesticks
from tickstock_pipeline.market.bar import Bars, empty_bars
from tickstock_pipeline.market.timeframe import Timeframe


def bars(count: int) -> Bars:
    close = 100 + np.cumsum(np.random.default_rng(1).normal(0, 1, count))
    open_ = np.roll(close, 1)
    open_[0] = close[0]
    time = np.arange("2013-01-01", count, dtype="datetime64[D]").astype("datetime64[us]")
    high, low = np.maximum(open_, close) + 1, np.minimum(open_, close) - 1
    return Bars("AAPL", Timeframe.DAILY, time, open_, high, low, close, np.ones(count, np.int64))


def texts(svg: str) -> list[str]:
    return [element.text for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("text")]  # noqa: S314


def test_the_newest_bars_are_drawn_and_a_full_picture_stays_under_8_kilobytes():
    svg = candlesticks(bars(250), [Mark(249, "hammer", 1)], title="AAPL|2013 daily")

    assert svg.count("h") > 80
    assert "AAPL|2013 daily" in texts(svg)
    assert len(as_markdown(svg, "AAPL")) < 8_192


@pytest.mark.parametrize("direction", [1, 0, -1])
def test_a_detection_is_marked_with_the_sign_of_its_direction(direction):
    svg = candlesticks(bars(30), [Mark(10, "pattern", direction)], title="t")

    assert [text for text in texts(svg) if text in SIGNS.values()] == [SIGNS[direction]]


def test_a_detection_on_a_bar_that_is_not_shown_is_not_marked():
    svg = candlesticks(bars(200), [Mark(5, "pattern", 1)], title="t", most_bars=80)

    assert not [text for text in texts(svg) if text in SIGNS.values()]


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_and_a_single_flat_bar_are_pictures_too(count):
    series = bars(5)[:1] if count else empty_bars("AAPL", Timeframe.DAILY)

    ElementTree.fromstring(candlesticks(series, [], title="<&>"))  # noqa: S314


def test_markdown_carries_the_picture_itself():
    svg = candlesticks(bars(10), [], title="t")

    encoded = as_markdown(svg, "t").partition("base64,")[2].removesuffix(")")
    assert base64.b64decode(encoded).decode() == svg


@pytest.mark.parametrize(
    ("scale", "prices"),
    [
        (1.0, ["94", "96", "98", "100", "102"]),
        (0.001, ["0.094", "0.096", "0.098", "0.100", "0.102"]),
        (40.0, ["3,700", "3,800", "3,900", "4,000", "4,100"]),
    ],
)
def test_prices_beside_the_picture_are_round(scale, prices):
    close = scale * np.linspace(93.0, 103.0, 30)
    time = np.arange("2013-01-01", 30, dtype="datetime64[D]").astype("datetime64[us]")
    series = Bars("AAPL", Timeframe.DAILY, time, close, close, close, close, np.ones(30, np.int64))

    shown = texts(candlesticks(series, [], title="t"))

    assert [text for text in shown if text.replace(".", "").replace(",", "").isdigit()] == prices
