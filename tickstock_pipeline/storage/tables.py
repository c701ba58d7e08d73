"""The tables as SQLAlchemy sees them, for statements.

The migrations are what creates them; these mirror their result, and a test compares the two. What the tables mean is
said in the migrations' scripts.
"""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from tickstock_pipeline.market.timeframe import Timeframe

METADATA = sa.MetaData()


class TransactionId(sa.types.UserDefinedType[str]):
    """PostgreSQL's ``xid8``: a transaction's number, never used again."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "XID8"


_INSTANT = sa.TIMESTAMP(timezone=True)
_KEY_COLUMNS = {
    Timeframe.MINUTE: "timestamp",
    Timeframe.HOURLY: "timestamp",
    Timeframe.DAILY: "date",
    Timeframe.WEEKLY: "week_ending",
    Timeframe.MONTHLY: "month_ending",
}


def _bar_table(timeframe: Timeframe) -> sa.Table:
    name = f"ohlcv_{timeframe}"
    return sa.Table(
        name,
        METADATA,
        sa.Column("symbol", sa.Text, primary_key=True),
        sa.Column(_KEY_COLUMNS[timeframe], _INSTANT if timeframe.is_intraday else sa.Date, primary_key=True),
        *(sa.Column(price, sa.Double, nullable=False) for price in ("open", "high", "low", "close")),
        sa.Column("volume", sa.BigInteger, nullable=False),
        sa.Column("source", sa.Text, nullable=False, server_default="external"),
        sa.CheckConstraint("high >= greatest(open, close) AND high < 'Infinity'", name=f"{name}_high"),
        sa.CheckConstraint("low <= least(open, close) AND low > 0", name=f"{name}_low"),
        sa.CheckConstraint("volume >= 0", name=f"{name}_volume"),
    )


BARS: dict[Timeframe, sa.Table] = {timeframe: _bar_table(timeframe) for timeframe in Timeframe}


def key_column(timeframe: Timeframe) -> sa.Column[object]:
    """The time column of a bar table: an instant for intraday bars, else a date."""
    return BARS[timeframe].c[_KEY_COLUMNS[timeframe]]


SYMBOLS = sa.Table(
    "symbols",
    METADATA,
    sa.Column("symbol", sa.Text, primary_key=True),
    sa.Column("name", sa.Text),
    sa.Column("position", sa.BigInteger, sa.Identity(always=True), nullable=False, unique=True),
    sa.Column("active", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Column("added_at", _INSTANT, nullable=False, server_default=sa.func.now()),
)

SPLITS = sa.Table(
    "splits",
    METADATA,
    sa.Column("symbol", sa.Text, primary_key=True),
    sa.Column("ex_date", sa.Date, primary_key=True),
    sa.Column("ratio", sa.Double, nullable=False),
    sa.Column("source", sa.Text, nullable=False, server_default="external"),
    sa.CheckConstraint("ratio > 0 AND ratio < 'Infinity'", name="splits_ratio"),
)

WITHDRAWN_SPLITS = sa.Table(
    "withdrawn_splits",
    METADATA,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("symbol", sa.Text, nullable=False),
    sa.Column("ex_date", sa.Date, nullable=False),
    sa.Column("ratio", sa.Double, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("withdrawn_at", _INSTANT, nullable=False, server_default=sa.func.now()),
)

DIVIDENDS = sa.Table(
    "dividends",
    METADATA,
    sa.Column("symbol", sa.Text, primary_key=True),
    sa.Column("ex_date", sa.Date, primary_key=True),
    sa.Column("amount", sa.Double, nullable=False),
    sa.Column("source", sa.Text, nullable=False, server_default="external"),
    sa.CheckConstraint("amount > 0 AND amount < 'Infinity'", name="dividends_amount"),
)

BAR_PROVENANCE = sa.Table(
    "bar_provenance",
    METADATA,
    sa.Column("symbol", sa.Text, primary_key=True),
    sa.Column("timeframe", sa.Text, primary_key=True),
    sa.Column("year", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("n_bars", sa.Integer, nullable=False),
    sa.Column("n_refused", sa.Integer, nullable=False, server_default="0"),
    sa.Column("input_revision", sa.BigInteger),
    sa.Column("unfinished_until", sa.Date),
    sa.Column("requested_from", sa.Date),
    sa.Column("requested_through", sa.Date),
    sa.Column("error", sa.Text),
    sa.Column("updated_at", _INSTANT, nullable=False, server_default=sa.func.now()),
    sa.Column("reason", sa.Text),
    sa.Column("n_provisional", sa.Integer, nullable=False, server_default="0"),
    sa.Column("session_bars", ARRAY(sa.SmallInteger)),
    sa.CheckConstraint("outcome IN ('complete', 'partial', 'empty', 'failed')", name="bar_provenance_outcome"),
)

CORPORATE_ACTION_FETCHES = sa.Table(
    "corporate_action_fetches",
    METADATA,
    sa.Column("symbol", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("fetched_at", _INSTANT, nullable=False, server_default=sa.func.now()),
    sa.CheckConstraint("kind IN ('splits', 'dividends')", name="corporate_action_fetches_kind"),
)

QUARANTINED_BARS = sa.Table(
    "quarantined_bars",
    METADATA,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("received_at", _INSTANT, nullable=False, server_default=sa.func.now()),
    *(sa.Column(name, sa.Text, nullable=False) for name in ("source", "symbol", "timeframe", "bar_time", "reason")),
    sa.Column("raw", JSONB, nullable=False),
    sa.Column(
        "digest",
        sa.Text,
        sa.Computed(
            "md5(source || chr(31) || symbol || chr(31) || timeframe || chr(31) || bar_time || chr(31)"
            " || reason || chr(31) || raw::text)",
            persisted=True,
        ),
        nullable=False,
        unique=True,
    ),
    sa.Index("quarantined_bars_symbol", "symbol", "timeframe"),
)

BAR_SERIES = sa.Table(
    "bar_series",
    METADATA,
    sa.Column("symbol", sa.Text, primary_key=True),
    sa.Column("timeframe", sa.Text, primary_key=True),
)

BAR_LEDGER = sa.Table(
    "bar_ledger",
    METADATA,
    sa.Column("symbol", sa.Text, primary_key=True),
    sa.Column("timeframe", sa.Text, primary_key=True),
    sa.Column("year", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("n_bars", sa.Integer, nullable=False),
    sa.Column("first_time", _INSTANT),
    sa.Column("last_time", _INSTANT),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("position", TransactionId, nullable=False, server_default=sa.func.pg_current_xact_id()),
)

ANALYSIS_COVERAGE = sa.Table(
    "analysis_coverage",
    METADATA,
    sa.Column("symbol", sa.Text, primary_key=True),
    sa.Column("timeframe", sa.Text, primary_key=True),
    sa.Column("year", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("definition_digest", sa.Text, nullable=False),
    sa.Column("anchor", _INSTANT),
    sa.Column("covered_through", _INSTANT),
    sa.Column("n_bars", sa.Integer, nullable=False),
    sa.Column("stale_from", _INSTANT),
    sa.Column("analysed_at", _INSTANT, nullable=False, server_default=sa.func.now()),
)

INDICATOR_LAYOUTS = sa.Table(
    "indicator_layouts",
    METADATA,
    sa.Column("id", sa.Integer, sa.Identity(always=True), primary_key=True),
    sa.Column("outputs", ARRAY(sa.Text), nullable=False),
    sa.Column("indicators", ARRAY(sa.Text), nullable=False),
    sa.UniqueConstraint("outputs", "indicators", name="indicator_layouts_columns"),
    sa.CheckConstraint("cardinality(outputs) = cardinality(indicators)", name="indicator_layouts_indicators"),
)

BAR_INDICATORS = sa.Table(
    "bar_indicators",
    METADATA,
    sa.Column("symbol", sa.Text, primary_key=True),
    sa.Column("timeframe", sa.Text, primary_key=True),
    sa.Column("time", _INSTANT, primary_key=True),
    sa.Column("layout_id", sa.Integer, nullable=False),
    sa.Column("values", ARRAY(sa.Double), nullable=False),
)

DAILY_PATTERNS = sa.Table(
    "daily_patterns",
    METADATA,
    sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("symbol", sa.Text, nullable=False),
    sa.Column("pattern_type", sa.Text, nullable=False),
    sa.Column("confidence", sa.Double, nullable=False),
    sa.Column("pattern_data", JSONB, nullable=False, server_default="{}"),
    sa.Column("detection_timestamp", _INSTANT, nullable=False, server_default=sa.func.now()),
    sa.Column("expiration_date", _INSTANT),
    sa.Column("levels", JSONB),
    sa.Column("timeframe", sa.Text, nullable=False, server_default="daily"),
    sa.Column("metadata", JSONB),
    sa.Column("direction", sa.Text),
    sa.Column("bar_time", _INSTANT),
    sa.Column("revision", sa.Integer, nullable=False, server_default="1"),
    sa.Column("retracted_at", _INSTANT),
    sa.UniqueConstraint("symbol", "timeframe", "pattern_type", "detection_timestamp", name="daily_patterns_detection"),
    sa.Index("daily_patterns_series", "symbol", "timeframe", "detection_timestamp"),
    sa.Index("daily_patterns_time", "detection_timestamp"),
)

LATEST_INDICATORS = sa.Table(
    "latest_indicators",
    METADATA,
    sa.Column("symbol", sa.Text, primary_key=True),
    sa.Column("timeframe", sa.Text, primary_key=True),
    sa.Column("bar_time", _INSTANT, nullable=False),
    sa.Column("layout_id", sa.Integer, nullable=False),
    sa.Column("values", ARRAY(sa.Double), nullable=False),
    sa.Column("calculated_at", _INSTANT, nullable=False, server_default=sa.func.now()),
)

OTHER_INDICATORS = sa.Table(
    "other_indicators",
    METADATA,
    sa.Column("symbol", sa.Text),
    sa.Column("indicator_type", sa.Text),
    sa.Column("value_data", JSONB, nullable=False),
    sa.Column("calculation_timestamp", _INSTANT, nullable=False),
    sa.Column("expiration_date", _INSTANT),
    sa.Column("timeframe", sa.Text),
    sa.Column("metadata", JSONB),
    sa.PrimaryKeyConstraint("symbol", "timeframe", "indicator_type"),
)


def _definition_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("id", sa.Integer, sa.Identity(), primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("category", sa.Text, nullable=False),
        sa.Column("enabled", sa.Boolean, nullable=False, server_default=sa.true()),
        sa.Column("applicable_timeframes", ARRAY(sa.String), nullable=False),
        sa.Column("min_bars_required", sa.Integer, nullable=False),
        sa.Column("instantiation_params", JSONB, nullable=False, server_default="{}"),
        sa.Column("display_order", sa.Integer, nullable=False, server_default="0"),
        sa.Column("function", sa.Text),
    ]


INDICATOR_DEFINITIONS = sa.Table("indicator_definitions", METADATA, *_definition_columns())
PATTERN_DEFINITIONS = sa.Table(
    "pattern_definitions",
    METADATA,
    *_definition_columns(),
    sa.Column("confidence_threshold", sa.Double, nullable=False, server_default=sa.text("0")),
    sa.Column("risk_level", sa.Text, nullable=False, server_default="medium"),
)

SECTOR_MAPPING = sa.Table(
    "sector_mapping",
    METADATA,
    sa.Column("symbol", sa.Text, primary_key=True),
    sa.Column("sector_name", sa.Text),
    sa.Column("industry", sa.Text),
    sa.Column("rs_score", sa.Numeric(10, 4)),
    sa.Column("is_sector_leader", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("last_updated", _INSTANT, nullable=False, server_default=sa.func.now()),
)

INTEGRATION_EVENTS = sa.Table(
    "integration_events",
    METADATA,
    sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("timestamp", _INSTANT, nullable=False, server_default=sa.func.clock_timestamp()),
    sa.Column("event_type", sa.Text, nullable=False),
    sa.Column("source_system", sa.Text, nullable=False),
    sa.Column("target_system", sa.Text),
    sa.Column("flow_id", sa.Uuid),
    sa.Column("checkpoint", sa.Text),
    sa.Column("symbol", sa.Text),
    sa.Column("pattern_name", sa.Text),
    sa.Column("confidence", sa.Double),
    sa.Column("user_count", sa.Integer),
    sa.Column("channel", sa.Text),
    sa.Column("details", JSONB),
    sa.Column("error_message", sa.Text),
    sa.Column("processing_time_ms", sa.Double),
    sa.Index("integration_events_flow", "flow_id", "timestamp"),
    sa.Index("integration_events_time", "timestamp"),
)
