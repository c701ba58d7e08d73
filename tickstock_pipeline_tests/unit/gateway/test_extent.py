"""When events may be gone that a client asks for."""

import pytest

from tickstock_pipeline.gateway.pattern_feed import Extent


@pytest.mark.parametrize(
    ("extent", "after", "is_gone"),
    [
        (Extent(None, (0, 0), False), (0, 0), False),
        (Extent((5, 0), (9, 0), False), (0, 0), False),
        (Extent((5, 0), (9, 0), False), (5, 0), False),
        (Extent((5, 0), (9, 0), True), (4, 9), True),
        (Extent((5, 0), (9, 0), True), (5, 0), False),
        (Extent((5, 0), (9, 0), True), (9, 0), False),
        (Extent(None, (9, 0), True), (8, 0), True),
        (Extent(None, (9, 0), True), (9, 0), False),
        (Extent((5, 0), (9, 0), True), (9, 1), False),
    ],
)
def test_events_are_gone_if_they_were_trimmed(extent: Extent, after: tuple[int, int], is_gone: bool) -> None:
    assert extent.lacks_after(after) is is_gone
