"""The latest value of each indicator, which the consumer reads as ``daily_indicators``.

``latest_indicators`` has one row for each symbol and timeframe, the newest of ``bar_indicators``; the view
``daily_indicators`` shows it as a row for each indicator that has a value. Rows of other programs are in
``other_indicators``; a value of ours takes their place.
"""

from collections.abc import Sequence

import sqlalchemy as sa

from tickstock_pipeline.storage.analysed_window import AnalysedWindow

UPSERT_LATEST = """
    INSERT INTO latest_indicators AS stored (symbol, timeframe, bar_time, layout_id, "values")
    SELECT symbol, :timeframe, "time", layout_id, "values" FROM newest ORDER BY symbol
    ON CONFLICT (symbol, timeframe) DO UPDATE SET
        bar_time = excluded.bar_time, layout_id = excluded.layout_id, "values" = excluded."values",
        calculated_at = now()
    WHERE (stored.bar_time, stored.layout_id, stored."values")
        IS DISTINCT FROM (excluded.bar_time, excluded.layout_id, excluded."values")
"""
"""Parts of a statement that begins with ``WITH newest (symbol, "time", layout_id, "values")``."""

DELETE_OTHERS = """
    DELETE FROM other_indicators other
    USING newest JOIN indicator_layouts layout ON layout.id = newest.layout_id,
        unnest(layout.indicators, newest."values") AS ours (indicator_type, value)
    WHERE other.symbol = newest.symbol AND other.timeframe = :timeframe
        AND other.indicator_type = ours.indicator_type AND ours.value IS NOT NULL
"""


def write_latest_indicators(connection: sa.Connection, items: Sequence[AnalysedWindow]) -> int:
    """Bring the latest values of the items' symbols up to what :func:`write_bar_indicators` has stored.

    Parameters
    ----------
    items : of one timeframe

    Returns
    -------
    How many rows were written or deleted.
    """
    if not items:
        return 0
    parameters = {
        "timeframe": str(items[0].analysis.bars.timeframe),
        "symbols": sorted({item.symbol for item in items}),
    }
    written = connection.execute(_BRING_UP_TO_DATE, parameters).rowcount
    return written + connection.execute(_DELETE_GONE, parameters).rowcount


_BRING_UP_TO_DATE = sa.text(f"""
    WITH newest AS MATERIALIZED (
        SELECT wanted.symbol, bar."time", bar.layout_id, bar."values"
        FROM unnest(cast(:symbols AS text[])) AS wanted (symbol)
        CROSS JOIN LATERAL (
            SELECT "time", layout_id, "values" FROM bar_indicators
            WHERE symbol = wanted.symbol AND timeframe = :timeframe ORDER BY "time" DESC LIMIT 1
        ) bar
    ), replaced AS ({DELETE_OTHERS})
    {UPSERT_LATEST}
""")
_DELETE_GONE = sa.text("""
    DELETE FROM latest_indicators latest
    WHERE symbol = ANY (:symbols) AND timeframe = :timeframe AND NOT EXISTS (
        SELECT FROM bar_indicators bar WHERE bar.symbol = latest.symbol AND bar.timeframe = latest.timeframe
    )
""")
