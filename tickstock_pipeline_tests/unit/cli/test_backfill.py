"""What ``tickstock backfill`` ends with."""

from collections.abc import Mapping

import pytest

from tickstock_pipeline.cli.backfill import exit_code_of
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.runtime.analysis_backfill import BarProgress

LEFT = {(Timeframe.DAILY, Partition("AAPL", 2013)): "its bars cannot be analysed"}


@pytest.mark.parametrize(
    ("processed", "status", "failures", "code"),
    [
        (500, "COMPLETED_SUCCESS", {}, 0),
        (0, "COMPLETED_SUCCESS", {}, 0),
        (400, "COMPLETED_FAILED", LEFT, 2),
        (0, "COMPLETED_FAILED", LEFT, 1),
        (400, "CANCELED", LEFT, 1),
        (400, "FAILED", LEFT, 1),
        # somebody cancelled it when everything was done
        (500, "CANCELED", {}, 0),
    ],
)
def test_the_exit_code_tells_failed_symbols_from_a_backfill_that_was_broken_off(
    processed: int, status: str, failures: Mapping[tuple[Timeframe, Partition], str], code: int
) -> None:
    assert exit_code_of(BarProgress(processed, 500, True, status, failures)) == code
