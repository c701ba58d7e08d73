"""The tables of the automation as SQLAlchemy sees them; ``0002_automation.sql`` says what they mean."""

import sqlalchemy as sa

from tickstock_pipeline.storage.tables import METADATA

_INSTANT = sa.TIMESTAMP(timezone=True)


def _partition_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("symbol", sa.Text, primary_key=True),
        sa.Column("timeframe", sa.Text, primary_key=True),
        sa.Column("year", sa.SmallInteger, primary_key=True, autoincrement=False),
    ]


REPORTED_BARS = sa.Table(
    "reported_bars",
    METADATA,
    *_partition_columns(),
    sa.Column("imported_revision", sa.BigInteger),
    sa.Column("reported_revision", sa.BigInteger),
    sa.Column("reported_session", sa.Date),
)

ANALYSIS_FAILURES = sa.Table(
    "analysis_failures",
    METADATA,
    *_partition_columns(),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="1"),
    sa.Column("failed_at", _INSTANT, nullable=False, server_default=sa.func.now()),
    sa.CheckConstraint("attempts >= 1", name="analysis_failures_attempts"),
)
