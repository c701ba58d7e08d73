"""Asset checks: are bars sane and complete against the exchange's calendar, is the analysis up to date?

Declared here, with what the UI says of each; what each finds is in :mod:`tickstock_pipeline.defs.evaluations`.
"""

import dagster as dg

from tickstock_pipeline.defs.analysis import patterns_key
from tickstock_pipeline.defs.bars import bar_asset_key
from tickstock_pipeline.defs.evaluations import (
    COMPLETENESS,
    FRESHNESS,
    OHLC_SANITY,
    UP_TO_DATE,
    Judge,
    Judged,
    judge_completeness,
    judge_freshness,
    judge_sanity,
    judge_staleness,
    partitions_of,
)
from tickstock_pipeline.defs.resources import Database, Market
from tickstock_pipeline.market.timeframe import Timeframe

_DESCRIPTIONS = {
    OHLC_SANITY: "high >= max(open, close), low <= min(open, close), prices > 0 and finite, volume >= 0. PostgreSQL "
    "enforces this; the check sees that it still does, and warns of bars that were quarantined instead: table "
    "`quarantined_bars` has each with its reason. It blocks what follows in a run that materialises a partition with a "
    "wrong bar; such a partition fails in every run.",
    COMPLETENESS: "Every session that was asked of the provider, or of which bars are stored, has all the bars that "
    "the provider has; derived bars are made of the finer ones as they are now. Materialise the partitions named, or "
    "run `tickstock coverage --gaps`, which prints the commands that import what is missing.",
    FRESHNESS: "Each active symbol that has bars has those of the newest session, week or month that has ended on the "
    "exchange, half days and holidays considered. A symbol whose history at the provider has ended is measured by its "
    "last day. `newest_bars` names the newest bar of those that are behind; materialise their year, or run "
    "`tickstock import`.",
    UP_TO_DATE: "Every stored bar is analysed with the definitions that are enabled now. A partition stays green after "
    "its first materialisation; this is what tells that it is stale. The schedule catch_up does what is named here "
    "within minutes; materialise the partitions, or run `tickstock backfill`, to have it done now. `by_year` and "
    "`stale_partitions` count bars; `failed` says why a partition could not be analysed.",
}


def bar_checks() -> list[dg.AssetChecksDefinition]:
    """Sanity, completeness and freshness of the five bar assets."""
    return [
        check
        for timeframe in Timeframe
        for check in (
            # what is computed from a wrong bar is wrong as well
            _check(bar_asset_key(timeframe), OHLC_SANITY, timeframe, judge_sanity, is_blocking=True),
            _check(bar_asset_key(timeframe), COMPLETENESS, timeframe, judge_completeness),
            _check(bar_asset_key(timeframe), FRESHNESS, timeframe, judge_freshness),
        )
    ]


def analysis_checks() -> list[dg.AssetChecksDefinition]:
    """Staleness of the patterns, and of the indicators computed with them, of the five timeframes."""
    return [_check(patterns_key(timeframe), UP_TO_DATE, timeframe, judge_staleness) for timeframe in Timeframe]


def _check(
    asset: dg.AssetKey, name: str, timeframe: Timeframe, judge: Judge, *, is_blocking: bool = False
) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=asset, name=name, description=_DESCRIPTIONS[name], blocking=is_blocking)
    def check(context: dg.AssetCheckExecutionContext, database: Database, market: Market) -> dg.AssetCheckResult:
        return judge(Judged(database, market, timeframe, partitions_of(context)))

    return check
