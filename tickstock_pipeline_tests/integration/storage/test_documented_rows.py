"""The SQL that the documentation shows for a new definition does what it says."""

import re
from pathlib import Path

import sqlalchemy as sa

from tickstock_pipeline.analysis import definition_set
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.definitions import read_definitions, seed_definitions

INDICATORS = Path(__file__).parents[3] / "docs" / "indicators.md"


def test_the_documented_row_of_another_librarys_indicator_runs_where_it_applies(engine: sa.Engine) -> None:
    (statement,) = re.findall(r"```sql\n(INSERT .*?)```", INDICATORS.read_text(encoding="utf-8"), re.DOTALL)
    with engine.begin() as connection:
        seed_definitions(connection)
        before = read_definitions(connection)
        connection.exec_driver_sql(statement)
        stored = read_definitions(connection)

    assert stored.problems == ()
    for timeframe in Timeframe:
        old = definition_set(timeframe, before.indicators, before.patterns)
        new = definition_set(timeframe, stored.indicators, stored.patterns)
        is_applicable = timeframe in (Timeframe.DAILY, Timeframe.WEEKLY)
        assert (new.digest != old.digest) == is_applicable
        assert ("supertrend_supert" in new.outputs) == is_applicable
