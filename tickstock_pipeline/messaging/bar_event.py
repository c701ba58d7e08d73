"""A bar as a message: the market data event, on the stream of live bars and on the channel ``tickstock_data``.

What a message may look like is decided here; whether its numbers make a bar is decided by ``market.bar``.
"""

import json
import math
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from tickstock_pipeline.market.symbol import normalise_symbol
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.messaging.channels import PRODUCER_MARK

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LONGEST_LABEL = 40
# All symbols' bars of a minute have the same time, in a few spellings.
_TIMES_KEPT = 4096
# json.dumps makes one for each call if it is to leave out spaces.
_ENCODER = json.JSONEncoder(separators=(",", ":"))


MISSED = "missed"
"""``data_quality`` of a bar that was stored while nobody listened, and is taken up later."""


class LiveBar(NamedTuple):
    """One bar as received, unchecked.

    Attributes
    ----------
    time : its START, microseconds since 1970, UTC
    open, high, low, close : as traded; NaN where the message has no number
    volume : shares; NaN where the message has no number
    source : who gave it, such as ``polygon.io``
    session : ``pre``, ``regular`` or ``post``, as the source says
    quality : ``confirmed``, or what the source says
    ingestion_latency_ms : from the end of the bar's period to its arrival here; None: not known
    """

    symbol: str
    timeframe: Timeframe
    time: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    source: str
    session: str = "regular"
    quality: str = "confirmed"
    ingestion_latency_ms: float | None = None


def encode(bar: LiveBar) -> bytes:
    """The market data event of a bar, as JSON; marked as ours, so that we know it again on ``tickstock_data``."""
    volume: float = int(bar.volume) if bar.volume.is_integer() else bar.volume
    return _ENCODER.encode(
        {
            "symbol": bar.symbol,
            "timestamp": timestamp_text(bar.time),
            "timeframe": bar.timeframe.value,
            "ohlcv": {"open": bar.open, "high": bar.high, "low": bar.low, "close": bar.close, "volume": volume},
            "source": bar.source,
            "metadata": {
                "market_session": bar.session,
                "data_quality": bar.quality,
                "ingestion_latency_ms": bar.ingestion_latency_ms,
                **PRODUCER_MARK,
            },
        }
    ).encode()


def decode(raw: bytes) -> LiveBar:
    """The bar of a market data event, ours or the consumer's.

    Raises
    ------
    ValueError
        If it is no JSON object, or has no symbol, timeframe or time; says which. Numbers are not judged.
    """
    event = _parsed(raw)
    if not isinstance(event, dict):
        raise ValueError("the message is not a JSON object")
    ohlcv, metadata = event.get("ohlcv"), event.get("metadata")
    if not isinstance(ohlcv, dict):
        raise ValueError("the message has no ohlcv")
    if not isinstance(metadata, dict):
        metadata = {}
    latency = _number(metadata.get("ingestion_latency_ms"))
    return LiveBar(
        normalise_symbol(_text(event, "symbol")),
        _timeframe(_text(event, "timeframe")),
        _microseconds(_text(event, "timestamp")),
        _number(ohlcv.get("open")),
        _number(ohlcv.get("high")),
        _number(ohlcv.get("low")),
        _number(ohlcv.get("close")),
        _number(ohlcv.get("volume")),
        _label(event.get("source"), "external"),
        _label(metadata.get("market_session"), "regular"),
        _label(metadata.get("data_quality"), "confirmed"),
        None if math.isnan(latency) else latency,
    )


def is_ours(raw: bytes) -> bool:
    """Whether a market data event is one that we have published."""
    try:
        metadata = _parsed(raw)["metadata"]
        return all(metadata.get(name) == value for name, value in PRODUCER_MARK.items())
    except (ValueError, TypeError, KeyError, AttributeError):
        return False


@lru_cache(_TIMES_KEPT)
def timestamp_text(time: int) -> str:
    """An instant, microseconds since 1970, as events write it: ``2025-08-26T14:30:00.000Z``."""
    moment = _EPOCH + timedelta(microseconds=time)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def _parsed(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        raise ValueError("the message is not JSON") from None


def _label(value: object, default: str) -> str:
    # nothing depends on it, so it costs no bar; but PostgreSQL can hold neither NUL nor half a surrogate pair
    text = str(value or default)[:_LONGEST_LABEL]
    return text if text.isprintable() else "".join(one if one.isprintable() else "?" for one in text)


def _text(event: dict[str, Any], name: str) -> str:
    value = event.get(name)
    if not isinstance(value, str) or not value:
        raise ValueError(f"the message has no {name}")
    return value


def _timeframe(name: str) -> Timeframe:
    try:
        return Timeframe(name)
    except ValueError:
        raise ValueError(f"the message has an unknown timeframe, {name[:20]!r}") from None


@lru_cache(_TIMES_KEPT)
def _microseconds(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"the message has an unreadable timestamp, {text[:40]!r}") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // _MICROSECOND


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.nan
