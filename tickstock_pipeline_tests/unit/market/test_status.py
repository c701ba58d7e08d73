"""The phases of a trading day, by the calendar."""

import numpy as np
import pytest

from tickstock_pipeline.market.calendar import trading_calendar
from tickstock_pipeline.market.status import MarketPhase, market_status


# Times in UTC; New York is 5 hours behind in winter, 4 in summer. Hours as the NYSE publishes them.
@pytest.mark.parametrize(
    ("moment", "phase", "is_early"),
    [
        ("2013-02-25T08:59", "closed", False),
        ("2013-02-25T09:00", "pre", False),
        ("2013-02-25T14:29", "pre", False),
        ("2013-02-25T14:30", "regular", False),
        ("2013-02-25T20:59", "regular", False),
        ("2013-02-25T21:00", "post", False),
        ("2013-02-26T00:59", "post", False),
        ("2013-02-26T01:00", "closed", False),
        ("2013-07-01T13:30", "regular", False),
        ("2013-07-01T20:00", "post", False),
        ("2013-11-29T17:59", "regular", True),
        ("2013-11-29T18:00", "post", True),
        ("2013-11-29T22:00", "closed", True),
        ("2013-12-25T15:00", "closed", False),
        ("2013-02-24T15:00", "closed", False),
        ("2024-03-11T13:30", "regular", False),
    ],
)
def test_the_phase_of_a_moment(moment: str, phase: str, is_early: bool) -> None:
    status = market_status(trading_calendar(), np.datetime64(moment, "us"))

    assert status.phase == MarketPhase(phase)
    assert status.is_early_close == is_early
