"""Bytes of a stranger's as a JSON object, whatever they are, and its values in a form that PostgreSQL can hold."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tickstock_pipeline.errors import JobError

MOST_BYTES = 1024 * 1024

MOST_CHARACTERS = 500
"""Of a text; what is longer is clipped before it is stored."""

_MAX_ITEMS = 20_000
_MAX_DEPTH = 3
_MAX_INTEGER = 2**53


@dataclass(frozen=True)
class Document:
    """A JSON object.

    Attributes
    ----------
    repeated : keys that come more than once in it, so that nobody knows which value is meant
    """

    values: Mapping[str, Any]
    repeated: frozenset[str]


def read_document(data: bytes) -> Document:
    """The JSON object that ``data`` is.

    Raises
    ------
    JobError
        If it is too large, not JSON in UTF-8, nested too deeply, or another JSON value. The message is one of a few,
        so that refusals can be counted by it.
    """
    if len(data) > MOST_BYTES:
        raise JobError(f"larger than {MOST_BYTES // 1024} KiB")
    repeated: set[str] = set()

    def collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        # called for the innermost first: what is left at the end is the outermost object's
        repeated.clear()
        if len(found) < len(pairs):
            seen: set[str] = set()
            repeated.update(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        return found

    try:
        values = json.loads(data.decode("utf-8-sig"), object_pairs_hook=collect)
    except UnicodeDecodeError:
        raise JobError("not UTF-8") from None
    except RecursionError:
        raise JobError("nested too deeply") from None
    except ValueError:
        # also a number of more digits than Python reads
        raise JobError("not JSON") from None
    if not isinstance(values, dict):
        raise JobError("not a JSON object")
    return Document(values, frozenset(repeated))


def storable(value: Any, depth: int = 0) -> Any:
    """A JSON value that PostgreSQL's JSONB takes: texts clipped and without what is no character, finite numbers."""
    if isinstance(value, str):
        text = value[:MOST_CHARACTERS].encode("utf-8", errors="replace").decode("utf-8")
        return text.replace("\x00", "\ufffd")
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if abs(value) < _MAX_INTEGER else "a huge number"
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if depth >= _MAX_DEPTH:
        return "…"
    if isinstance(value, list):
        return [storable(item, depth + 1) for item in value[:_MAX_ITEMS]]
    return {storable(key): storable(item, depth + 1) for key, item in value.items()}
