"""What a pattern function is: allowed parameters, how many bars it needs, and the detector.

Candlesticks, chart patterns and events are all of this one kind, so the registry and the engine know no difference.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from tickstock_pipeline.indicators.parameters import Parameter, Parameters
from tickstock_pipeline.indicators.talib_functions import TalibCall
from tickstock_pipeline.patterns.detections import Detection, Detections
from tickstock_pipeline.patterns.measures import Measures
from tickstock_pipeline.patterns.series import LiveSeries

Detector = Callable[[Measures, Parameters], Detections]
"""Bars, as their measures, and the function's parameters → all detections, whatever their confidence.

A detector looks at no bar after the one at which it reports a detection. It may leave out those before
:attr:`Measures.first`.
"""


class LivePattern(Protocol):
    """One pattern followed bar by bar in one series."""

    def update(self) -> Detection | None:
        """The detection at the newest bar of the series, whatever its confidence; call it once after each bar."""
        ...

    def state(self) -> object:
        """What it takes, besides the series' own, to come back to this bar; nothing that happens later changes it."""
        ...

    def restore(self, state: Any) -> None:
        """Come back to the bar at which :meth:`state` was asked for; the series has come back before."""
        ...


LiveFactory = Callable[[LiveSeries, Parameters], LivePattern]
"""A series that holds its history, and the function's parameters → the pattern, ready for the first new bar.

What it then reports is bit for bit what the detector finds in history and new bars together.
"""


@dataclass(frozen=True, slots=True)
class PatternFunction:
    """A pattern by name.

    Attributes
    ----------
    name : what a definition's ``function`` says
    parameters : all of them are required in a definition
    bars_needed : parameters → bars up to and with that of the earliest detection
    detect : finds it
    recogniser : the library call inside ``detect`` that a streaming handle can stand for; None: there is none
    live : follows it bar by bar; None: only where there is a ``recogniser``
    window : parameters → bars up to and with t that decide the result at t; None: all bars from the anchor on do
    rule : what is wrong with the parameters taken together, if anything is
    """

    name: str
    parameters: tuple[Parameter, ...]
    bars_needed: Callable[[Parameters], int]
    detect: Detector
    recogniser: TalibCall | None = None
    live: LiveFactory | None = None
    window: Callable[[Parameters], int] | None = None
    rule: Callable[[Parameters], str | None] = lambda parameters: None
