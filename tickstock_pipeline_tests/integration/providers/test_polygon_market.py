"""In which phase Polygon says the market is, asked of the local server."""

from datetime import date
from typing import Any

import numpy as np
import pytest
from pydantic import SecretStr

from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.providers.limits import request_budget
from tickstock_pipeline.providers.polygon_market import polygon_market
from tickstock_pipeline.providers.registry import market_question
from tickstock_pipeline.replay.server import ReplayServer
from tickstock_pipeline.replay.source import MemorySource
from tickstock_pipeline.settings import Settings
from tickstock_pipeline_tests.integration.providers.canned_server import Canned, CannedServer, CountingBudget


def test_the_phase_is_that_of_the_markets_time(settings: Settings) -> None:
    price = np.full(1, 10.0)
    bars = Bars("A", Timeframe.MINUTE, np.array(["2013-02-25T14:30"], "datetime64[us]"), *[price] * 4, np.ones(1, int))
    with ReplayServer(MemorySource([bars])) as server:
        server.stream.play(date(2013, 2, 25), date(2013, 2, 25), subscribers=0).wait(20)
        ask = polygon_market(server.url, SecretStr("key"), request_budget(settings, "polygon", None, 0, 0))

        # the session has just ended
        assert ask() == "post"


def test_a_server_that_does_not_answer_says_nothing(settings: Settings) -> None:
    with ReplayServer(MemorySource([])) as server:
        url = server.url

    assert polygon_market(url, SecretStr("key"), request_budget(settings, "polygon", None, 0, 0))() == ""


@pytest.mark.parametrize("answer", [[], "open", None, {"exchanges": 1}, {"market": None}, {"market": ["open"]}])
def test_an_answer_that_is_none_ends_nothing(canned: CannedServer, budget: CountingBudget, answer: Any) -> None:
    canned.answer = lambda request: Canned.of(answer)

    assert polygon_market(canned.url, SecretStr("key"), budget)() == ""


def test_without_a_key_nobody_is_asked(settings: Settings) -> None:
    assert market_question(settings) is None
