"""What a pattern function is: allowed parameters, how many bars it needs, and the detector.

Candlesticks, chart patterns and events are all of this one kind, so the registry and the engine know no difference.
"""

from collections.abc import Callable
from dataclasses import dataclass

from tickstock_pipeline.indicators.parameters import Parameter, Parameters
from tickstock_pipeline.indicators.talib_functions import TalibCall
from tickstock_pipeline.patterns.detections import Detections
from tickstock_pipeline.patterns.measures import Measures

Detector = Callable[[Measures, Parameters], Detections]
"""Bars, as their measures, and the function's parameters → all detections, whatever their confidence.

A detector looks at no bar after the one at which it reports a detection, and remembers no first bar.
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
    """

    name: str
    parameters: tuple[Parameter, ...]
    bars_needed: Callable[[Parameters], int]
    detect: Detector
    recogniser: TalibCall | None = None
