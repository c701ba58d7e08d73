"""What streaming keeps of a series: open handles and followed patterns, past its newest bar.

A checkpoint of it is how a series goes back to a bar before a correction.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Any, Self

from tickstock_pipeline.indicators.inputs import Inputs
from tickstock_pipeline.live.bar import Bar, each_bar
from tickstock_pipeline.live.plan import FollowedPattern, LivePlan
from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.patterns.detections import Detections, in_columns
from tickstock_pipeline.patterns.function import LivePattern
from tickstock_pipeline.patterns.measures import VOLUME_BARS, Measures
from tickstock_pipeline.patterns.series import LiveSeries as FormationSeries

# Handles of the C engine have no type that is known outside of it
_Handle = Any
_Fields = tuple[int, ...]


Advance = tuple[list[float], list[int], list[tuple[int, Detections]]]
"""What one bar led to: the values of the plan's calls, one after the other; the marks of its recognisers; the position
of the definition and the detection of each pattern found."""


class StreamingState:
    """Handles and followed patterns of one series; see :meth:`opened`."""

    __slots__ = ("_formations", "_groups", "_patterns", "_plan", "_recognisers")

    def __init__(
        self,
        plan: LivePlan,
        handles: Sequence[_Handle],
        formations: FormationSeries | None,
        patterns: Sequence[LivePattern],
    ) -> None:
        self._plan = plan
        self._formations = formations
        self._patterns = patterns
        groups: dict[_Fields, tuple[list[_Handle], list[_Handle]]] = {}
        for streamed, handle in zip(plan.calls, handles, strict=False):
            single, several = groups.setdefault(streamed.fields, ([], []))
            (single if len(streamed.columns) == 1 else several).append(handle)
        # In the order of the plan's calls, as that has those with the same fields next to each other
        self._groups = tuple((fields, tuple(single), tuple(several)) for fields, (single, several) in groups.items())
        self._recognisers = tuple(handles[len(plan.calls) :])

    @classmethod
    def opened(cls, plan: LivePlan, bars: Bars) -> Self | None:
        """The state past these bars, at least one; None: it takes more bars to open all handles."""
        inputs = Inputs(bars)
        handles = []
        for call, parameters in plan.openers:
            handle = call.opened(inputs, parameters)
            if handle is None:
                return None
            handles.append(handle)
        if not plan.followed:
            return cls(plan, handles, None, [])
        formations = FormationSeries(Measures(bars[:-1]).series, VOLUME_BARS)
        patterns = [followed.start(formations, followed.parameters) for followed in plan.followed]
        # With its first new bar it forgets the history, which a copy of the state must not hold.
        for bar in each_bar(bars[-1:]):
            formations.push(bar.high, bar.low, bar.close, float(bar.volume))
            for pattern in patterns:
                pattern.update()
        return cls(plan, handles, formations, patterns)

    def checkpoint(self) -> "Checkpoint":
        """What it takes to come back to this bar."""
        followed = None
        if self._formations is not None:
            followed = self._formations.state(), tuple([pattern.state() for pattern in self._patterns])
        values = chain.from_iterable(chain(single, several) for _, single, several in self._groups)
        handles = tuple([handle.copy() for handle in chain(values, self._recognisers)])
        return Checkpoint(self._plan, handles, self._formations, self._patterns, followed)

    def advance(self, bar: Bar, position: int) -> Advance:
        """Take in the next bar, the one at ``position`` of the series; the state is torn if that raises."""
        values: list[float] = []
        for fields, single, several in self._groups:
            # Nothing but the star of the last form, which costs a third of a handle's own time, sets these apart
            if len(fields) == 1:
                value = bar[fields[0]]
                values += [handle.update(value) for handle in single]
                for handle in several:
                    values += handle.update(value)
            elif len(fields) == 3:
                first, second, third = bar[fields[0]], bar[fields[1]], bar[fields[2]]
                values += [handle.update(first, second, third) for handle in single]
                for handle in several:
                    values += handle.update(first, second, third)
            else:
                arguments = [bar[field] for field in fields]
                values += [handle.update(*arguments) for handle in single]
                for handle in several:
                    values += handle.update(*arguments)
        _, open_, high, low, close, volume = bar
        marks = [handle.update(open_, high, low, close) for handle in self._recognisers]
        found: list[tuple[int, Detections]] = []
        if self._formations is not None:
            self._formations.push(high, low, close, float(volume))
            for followed, pattern in zip(self._plan.followed, self._patterns, strict=True):
                detection = pattern.update()
                if detection is not None and _reaches(followed, detection.confidence, position):
                    name = followed.definition.name
                    found.append(
                        (
                            followed.position,
                            in_columns(name, [(position, detection)], list(detection.levels), list(detection.context)),
                        )
                    )
        return values, marks, found


class Checkpoint:
    """A state of the past: copies of its handles, and what its followed patterns need to come back."""

    __slots__ = ("_followed", "_formations", "_handles", "_patterns", "_plan")

    def __init__(
        self,
        plan: LivePlan,
        handles: Sequence[_Handle],
        formations: FormationSeries | None,
        patterns: Sequence[LivePattern],
        followed: tuple[Any, Sequence[Any]] | None,
    ) -> None:
        self._plan = plan
        self._handles = handles
        self._formations = formations
        self._patterns = patterns
        self._followed = followed

    def restored(self) -> StreamingState:
        """The state at the bar of the checkpoint. What has become of it since is lost, torn or not."""
        if self._formations is not None and self._followed is not None:
            series, patterns = self._followed
            self._formations.restore(series)
            for pattern, state in zip(self._patterns, patterns, strict=True):
                pattern.restore(state)
        return StreamingState(self._plan, [handle.copy() for handle in self._handles], self._formations, self._patterns)


def _reaches(followed: FollowedPattern, confidence: float, position: int) -> bool:
    definition = followed.definition
    return confidence >= definition.confidence_threshold and position >= definition.min_bars_required - 1
