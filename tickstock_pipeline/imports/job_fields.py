"""The fields of a job message, each from whatever a stranger has put there to what a job needs.

Which fields a job must have is :mod:`tickstock_pipeline.imports.message`.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from tickstock_pipeline.imports.json_message import MOST_CHARACTERS
from tickstock_pipeline.market.symbol import normalise_symbol
from tickstock_pipeline.market.timeframe import Timeframe

MOST_SYMBOLS = 20_000
MOST_YEARS = 100
DEFAULT_YEARS = 1.0

_MAX_SHOWN = 60
_SPELLINGS = {
    "minute": Timeframe.MINUTE,
    "1min": Timeframe.MINUTE,
    "hour": Timeframe.HOURLY,
    "hourly": Timeframe.HOURLY,
    "day": Timeframe.DAILY,
    "daily": Timeframe.DAILY,
    "week": Timeframe.WEEKLY,
    "weekly": Timeframe.WEEKLY,
    "month": Timeframe.MONTHLY,
    "monthly": Timeframe.MONTHLY,
}


class UnusableFieldError(Exception):
    """A field has a value that cannot be used; the text is for the job's ``error_message``."""


def symbols_of(value: object) -> tuple[str, ...]:
    """The symbols of a list, as normalised, each once; none for None.

    Raises
    ------
    UnusableFieldError
        As every function of this module, if the value cannot be used.
    """
    if value is None:
        return ()
    if not isinstance(value, list):
        raise UnusableFieldError("symbols is not a list of texts")
    if len(value) > MOST_SYMBOLS:
        raise UnusableFieldError(f"symbols has {len(value)} entries; {MOST_SYMBOLS} is the most that one job may have")
    found: dict[str, None] = {}
    for text in value:
        if not isinstance(text, str):
            raise UnusableFieldError("symbols is not a list of texts")
        try:
            found[normalise_symbol(text)] = None
        except ValueError:
            raise UnusableFieldError(f"symbols has {shown(text)}, which cannot be a symbol") from None
    return tuple(found)


def text_of(key: str, value: object) -> str:
    """A printable text without the blanks around it; empty for None."""
    if value is None:
        return ""
    if not isinstance(value, str) or not value.isprintable():
        raise UnusableFieldError(f"{key} is not a printable text")
    if len(value) > MOST_CHARACTERS:
        # what is stored of it would be another name
        raise UnusableFieldError(f"{key} is longer than {MOST_CHARACTERS} characters")
    return value.strip()


def timeframes_of(values: Mapping[str, Any]) -> tuple[Timeframe, ...]:
    """What ``timeframes`` and ``timespan`` of a message name, in the order of :class:`Timeframe`; all for neither."""
    named = values.get("timeframes")
    if named is None:
        named = []
    if not isinstance(named, list):
        named = [named]
    if values.get("timespan") is not None:
        named = [*named, values["timespan"]]
    found = {_timeframe(name) for name in named}
    return tuple(timeframe for timeframe in Timeframe if timeframe in found or not found)


def _timeframe(name: object) -> Timeframe:
    found = _SPELLINGS.get(name.lower()) if isinstance(name, str) and name.isascii() else None
    if found is None:
        raise UnusableFieldError(f"timeframe {shown(name)} is none of {', '.join(_SPELLINGS)}")
    return found


def years_of(value: object) -> float:
    """A number of years, which may be a fraction; one for None."""
    if value is None:
        return DEFAULT_YEARS
    # a whole number of JSON may be too large for a float, and a comparison of it is not
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MOST_YEARS:
        raise UnusableFieldError(f"years is {shown(value)}, not a number above 0 and up to {MOST_YEARS}")
    return float(value)


def date_of(key: str, value: object) -> date | None:
    """A date, or the date of an instant as it is written."""
    if value is None:
        return None
    try:
        if isinstance(value, str):
            # also of a date alone
            return datetime.fromisoformat(value).date()
    except ValueError:
        pass
    raise UnusableFieldError(f"{key} is {shown(value)}, not a date such as 2024-01-31")


def flag_of(values: Mapping[str, Any], key: str, default: bool) -> bool:
    """True or false, as the message says."""
    value = values.get(key)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise UnusableFieldError(f"{key} is {shown(value)}, not true or false")
    return value


def analysis_mode_of(value: object) -> str:
    """``per_symbol`` or ``batch``, which is also that of None."""
    if value is None:
        return "batch"
    if value not in ("per_symbol", "batch") or not isinstance(value, str):
        raise UnusableFieldError(f"analysis_mode {shown(value)} is neither per_symbol nor batch")
    return value


def shown(value: object) -> str:
    """A stranger's value as a message may quote it: short, printable, and never taken for more than it is."""
    if isinstance(value, Mapping) or (isinstance(value, Sequence) and not isinstance(value, str)):
        return "a list or an object"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**15:
        return "a huge number"
    text = ascii(value) if not isinstance(value, str) else ascii(value[:_MAX_SHOWN])
    return text if not isinstance(value, str) or len(value) <= _MAX_SHOWN else f"{text[:-1]}…'"
