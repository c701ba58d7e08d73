"""A job message, from bytes that anybody may have sent to a request that can be trusted in every field.

Three things can become of a message. It is a :class:`JobRequest`. Or it names its job but cannot be done: an
:class:`InvalidRequest`, so that whoever waits for that job is told why. Or it is nothing that anybody could be told
about, and is refused with :class:`~tickstock_pipeline.errors.JobError`. Nothing else is ever raised.

What a single field may hold is :mod:`.job_fields`; what the words mean in symbols and dates is worked out in
:mod:`.planning`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from tickstock_pipeline.errors import JobError
from tickstock_pipeline.imports.job_fields import (
    DEFAULT_YEARS,
    UnusableFieldError,
    analysis_mode_of,
    date_of,
    flag_of,
    shown,
    symbols_of,
    text_of,
    timeframes_of,
    years_of,
)
from tickstock_pipeline.imports.json_message import Document, read_document, storable
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.job_tables import UNKNOWN_TYPE

_MAX_ID_LENGTH = 200
# what each type of job must name: one of these keys
_NAMES_SYMBOLS = {
    "csv_universe_load": ("symbols", "csv_file", "universe_key", "universe_type"),
    "historical_load": ("symbols",),
    "multi_timeframe_load": ("symbols",),
    "universe_seed": ("universe_type", "universe_key", "csv_file"),
}
_KNOWN_KEYS = (
    *("job_id", "job_type", "symbols", "csv_file", "universe_key", "universe_type", "timeframes", "timespan"),
    *("years", "start_date", "end_date", "include_ohlcv", "run_analysis_after_import", "analysis_mode"),
    *("requested_by", "timestamp"),
)


@dataclass(frozen=True, kw_only=True)
class JobRequest:
    """A job that can be planned.

    Attributes
    ----------
    symbols : as normalised; empty where a file or a universe is named instead
    csv_file : name of a universe file, not checked yet; empty if none is meant
    universe_key : of the universe to look up; with ``csv_file``, the key under which its universe is stored
    timeframes : in the order of :class:`Timeframe`; empty for a job that imports no bars
    years : back from today, unless ``first_date`` is given
    message : the known keys as they came, in a form that PostgreSQL can hold
    """

    job_id: str
    job_type: str
    symbols: tuple[str, ...] = ()
    csv_file: str = ""
    universe_key: str = ""
    timeframes: tuple[Timeframe, ...] = ()
    years: float = DEFAULT_YEARS
    first_date: date | None = None
    last_date: date | None = None
    run_analysis: bool = False
    analysis_mode: str = "batch"
    requested_by: str | None = None
    message: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True)
class InvalidRequest:
    """A job that cannot be done, and why."""

    job_id: str
    job_type: str
    reason: str
    requested_by: str | None = None
    message: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True)
class CancelRequest:
    """A job is to end early."""

    job_id: str
    requested_by: str | None = None


def parse_job(data: bytes) -> JobRequest | InvalidRequest:
    """The request that a message makes.

    Parameters
    ----------
    data : one JSON object in UTF-8; keys that are not known are ignored

    Raises
    ------
    JobError
        If there is no usable ``job_id`` in it. The message is one of a few, without a word of ``data``.
    """
    document = read_document(data)
    job_id = _job_id(document)
    job_type = document.values.get("job_type")
    kept = {key: storable(document.values[key]) for key in _KNOWN_KEYS if key in document.values}
    requested_by = _requested_by(document)
    try:
        return _request(document, job_id, requested_by, kept)
    except UnusableFieldError as unusable:
        return InvalidRequest(
            job_id=job_id,
            job_type=job_type if isinstance(job_type, str) and job_type in _NAMES_SYMBOLS else UNKNOWN_TYPE,
            reason=str(unusable),
            requested_by=requested_by,
            message=kept,
        )


def parse_control(data: bytes) -> CancelRequest:
    """The cancellation that a message asks for.

    Raises
    ------
    JobError
        If it asks for nothing that we do, or names no usable job. The message is one of a few, without a word of
        ``data``.
    """
    document = read_document(data)
    if document.values.get("action") != "cancel":
        raise JobError("the action is not 'cancel'")
    return CancelRequest(job_id=_job_id(document), requested_by=_requested_by(document))


def is_control(data: bytes) -> bool:
    """Whether a message of a way in that carries both is one of control."""
    try:
        values = read_document(data).values
    except JobError:
        return False
    return "action" in values and "job_type" not in values


def usable_job_id(text: object) -> bool:
    """Whether a job may be called so: 1 to 200 printable characters, no blank at either end."""
    return isinstance(text, str) and 0 < len(text) <= _MAX_ID_LENGTH and text.isprintable() and text == text.strip()


def _job_id(document: Document) -> str:
    job_id = document.values.get("job_id")
    if job_id is None:
        raise JobError("job_id is missing")
    if not isinstance(job_id, str) or not usable_job_id(job_id):
        raise JobError(f"job_id is not a text of 1 to {_MAX_ID_LENGTH} printable characters")
    if "job_id" in document.repeated:
        raise JobError("job_id comes twice")
    return job_id


def _requested_by(document: Document) -> str | None:
    name = document.values.get("requested_by")
    return storable(name) if isinstance(name, str) and name else None


def _request(document: Document, job_id: str, requested_by: str | None, kept: Mapping[str, Any]) -> JobRequest:
    values = document.values
    repeated = [key for key in _KNOWN_KEYS if key in document.repeated]
    if repeated:
        raise UnusableFieldError(f"{repeated[0]} comes twice")
    job_type = values.get("job_type")
    if job_type is None:
        raise UnusableFieldError("job_type is missing")
    if not isinstance(job_type, str) or job_type not in _NAMES_SYMBOLS:
        raise UnusableFieldError(f"job_type {shown(job_type)} is none of {', '.join(_NAMES_SYMBOLS)}")
    symbols = symbols_of(values.get("symbols"))
    texts = {key: text_of(key, values.get(key)) for key in ("csv_file", "universe_key", "universe_type")}
    allowed = _NAMES_SYMBOLS[job_type]
    if "symbols" not in allowed:
        symbols = ()
    # the symbols themselves are more exact than the file, and the file more than a key
    csv_file = texts["csv_file"] if "csv_file" in allowed and not symbols else ""
    keys = [texts[key] for key in allowed if key.startswith("universe") and texts[key]]
    if csv_file:
        keys = [text for text in (texts["universe_type"], texts["universe_key"]) if text]
    if not (symbols or csv_file or keys):
        raise UnusableFieldError(f"{job_type} needs {' or '.join(allowed)}")
    is_with_bars = flag_of(values, "include_ohlcv", True)
    if job_type == "universe_seed" and "years" not in values and "start_date" not in values:
        is_with_bars = False
    first, last = date_of("start_date", values.get("start_date")), date_of("end_date", values.get("end_date"))
    if first is not None and last is not None and first > last:
        raise UnusableFieldError("start_date is after end_date")
    timeframes = timeframes_of(values)
    return JobRequest(
        job_id=job_id,
        job_type=job_type,
        symbols=symbols,
        csv_file=csv_file,
        universe_key="" if symbols else next(iter(keys), ""),
        timeframes=timeframes if is_with_bars else (),
        years=years_of(values.get("years")),
        first_date=first,
        last_date=last,
        run_analysis=flag_of(values, "run_analysis_after_import", False) and is_with_bars,
        analysis_mode=analysis_mode_of(values.get("analysis_mode")),
        requested_by=requested_by,
        message=kept,
    )
