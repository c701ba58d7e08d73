"""What of a definition set is followed bar by bar, and how: looked up once, shared by all series.

1. A call of the C engine has a streaming handle: the same bits as its batch form, given the same first bar.
2. A candlestick has its recogniser's handle; what it marks is graded from the newest bars, as in a batch.
3. A pattern with a ``live`` form is followed by that.
4. Anything else has no form but the batch one. It is run again on all bars from the anchor at every new bar: exact, at
   the price of the whole series in memory, and of a batch run a bar.
"""

from dataclasses import dataclass

import numpy as np

from tickstock_pipeline.analysis import DefinitionSet
from tickstock_pipeline.indicators.definition import IndicatorDefinition
from tickstock_pipeline.indicators.engine import IndicatorProgram
from tickstock_pipeline.indicators.inputs import Inputs
from tickstock_pipeline.indicators.parameters import Parameters, normalised
from tickstock_pipeline.indicators.registry import function_of
from tickstock_pipeline.indicators.talib_functions import TalibCall
from tickstock_pipeline.live.bar import Bar
from tickstock_pipeline.market.bar import IntArray, empty_bars
from tickstock_pipeline.patterns.candlestick import CandlestickDetector
from tickstock_pipeline.patterns.definition import PatternDefinition
from tickstock_pipeline.patterns.engine import PatternProgram, candlestick_detector
from tickstock_pipeline.patterns.function import LiveFactory
from tickstock_pipeline.patterns.registry import FUNCTIONS as PATTERN_FUNCTIONS


@dataclass(frozen=True, slots=True)
class StreamedCall:
    """One call of the C engine: what opens its handle, and where its values go.

    Attributes
    ----------
    call, parameters : what opens the handle
    fields : of a :class:`Bar`, what the handle is fed with
    columns : of the values, what it yields
    """

    call: TalibCall
    parameters: Parameters
    fields: tuple[int, ...]
    columns: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RecognisedCandlestick:
    """A candlestick: what opens its recogniser's handle, and what grades its marks."""

    position: int
    call: TalibCall
    parameters: Parameters
    detector: CandlestickDetector


@dataclass(frozen=True, slots=True)
class FollowedPattern:
    """A pattern with a live form."""

    position: int
    definition: PatternDefinition
    parameters: Parameters
    start: LiveFactory


class LivePlan:
    """A definition set, sorted by how each definition is followed.

    Attributes
    ----------
    definitions : the set
    calls : streamed calls, those with the same fields next to each other, single outputs before several
    columns : (n,) positions in the values of what the calls yield, one after the other
    min_bars : (n_outputs,) bars before each output has a value
    candlesticks, followed : patterns that are followed
    openers : what opens the handles, of the calls first and of the candlesticks' recognisers after them
    bars_to_open : bars that it takes to open all handles; it may take a few more
    batch_indicators, batch_columns : what has a batch form only, and its columns
    batch_patterns, batch_positions : patterns that have a batch form only, and their positions
    needs_history : whether there is something of the kind, so that all bars must be kept
    """

    def __init__(self, definitions: DefinitionSet) -> None:
        self.definitions = definitions
        calls: list[StreamedCall] = []
        batch: list[tuple[IndicatorDefinition, range]] = []
        min_bars: list[int] = []
        for definition in definitions.indicators:
            columns = range(len(min_bars), len(min_bars) + len(definition.outputs))
            min_bars += [definition.min_bars_required] * len(columns)
            streamed = _streamed(definition, columns)
            if streamed is None:
                batch.append((definition, columns))
            else:
                calls += streamed
        self.calls = sorted(calls, key=lambda streamed: (streamed.fields, len(streamed.columns) > 1))
        self.columns = _positions([column for streamed in self.calls for column in streamed.columns])
        self.min_bars = _positions(min_bars)
        self.latest_min_bars = max(min_bars, default=0)
        self.batch_indicators = IndicatorProgram([definition for definition, _ in batch])
        self.batch_columns = _positions([column for _, columns in batch for column in columns])

        self.candlesticks: list[RecognisedCandlestick] = []
        self.followed: list[FollowedPattern] = []
        others: list[tuple[int, PatternDefinition]] = []
        for position, pattern in enumerate(definitions.patterns):
            function = PATTERN_FUNCTIONS[pattern.function]
            parameters = normalised(pattern.parameters, function.parameters)
            if function.recogniser is not None:
                detector = candlestick_detector(pattern)
                self.candlesticks.append(RecognisedCandlestick(position, function.recogniser, parameters, detector))
            elif function.live is not None:
                self.followed.append(FollowedPattern(position, pattern, parameters, function.live))
            else:
                others.append((position, pattern))
        self.batch_patterns = PatternProgram([pattern for _, pattern in others])
        self.batch_positions = [position for position, _ in others]

        self.needs_history = bool(len(self.batch_columns) or self.batch_positions)
        self.openers: list[tuple[TalibCall, Parameters]] = [
            *((streamed.call, streamed.parameters) for streamed in self.calls),
            *((candlestick.call, candlestick.parameters) for candlestick in self.candlesticks),
        ]
        self.bars_to_open = max((call.bars_needed(parameters) for call, parameters in self.openers), default=1)


def _streamed(definition: IndicatorDefinition, columns: range) -> list[StreamedCall] | None:
    """The calls of a definition, or None where one of them has no handle."""
    function = function_of(definition)
    parameters = function.arguments(definition.parameters)
    streamed = []
    nothing = Inputs(empty_bars("", definition.applicable_timeframes[0]))
    start = 0
    for call in function.calls:
        if not isinstance(call, TalibCall):
            return None
        end = start + len(call.bound(parameters)(nothing))
        fields = tuple(Bar._fields.index(name) for name in call.inputs)
        streamed.append(StreamedCall(call, parameters, fields, tuple(columns[start:end])))
        start = end
    return streamed


def _positions(values: list[int]) -> IntArray:
    return np.array(values, np.int64)
