"""A provider's request and answer, free of any web framework."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tickstock_pipeline.replay.faults import Fault, FaultKind

JSON = "application/json"
HTML = "text/html; charset=utf-8"
TEXT = "text/plain; charset=utf-8"
CSV = "application/x-download"


@dataclass(frozen=True, slots=True)
class Question:
    """What a client asks.

    Attributes
    ----------
    path : of the URL
    query : the parameters in the URL, without the key
    names : the parts of the path that the route names
    base_url : how the client reached this server
    symbol : what it asks about, in the source's spelling, or as it spelt it where the source has no such symbol
    key : the key that it showed; empty: none
    fault : what is to be done to the answer's rows
    """

    path: str
    query: Mapping[str, str]
    names: Mapping[str, str]
    base_url: str
    symbol: str = ""
    key: str = field(default="", repr=False)
    fault: Fault | None = None

    def suffers(self, *kinds: FaultKind) -> bool:
        """Whether the fault is one of these."""
        return self.fault is not None and self.fault.kind in kinds


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back."""

    body: bytes
    status: int = 200
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)


def json_answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """An answer of compact JSON."""
    return Answer(json.dumps(value, separators=(",", ":")).encode(), status, JSON, headers or {})
