"""The tables of live delivery as SQLAlchemy sees them; what they mean is said in ``0002_delivery.sql``."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from tickstock_pipeline.storage.tables import METADATA

_INSTANT = sa.TIMESTAMP(timezone=True)

SHARD_LEASES = sa.Table(
    "shard_leases",
    METADATA,
    sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("worker", sa.Text),
    sa.Column("token", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("expires_at", _INSTANT, nullable=False, server_default="-infinity"),
)

LIVE_WORKERS = sa.Table(
    "live_workers",
    METADATA,
    sa.Column("worker", sa.Text, primary_key=True),
    sa.Column("started_at", _INSTANT, nullable=False, server_default=sa.func.now()),
    sa.Column("expires_at", _INSTANT, nullable=False),
)

OUTBOX = sa.Table(
    "outbox",
    METADATA,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("created_at", _INSTANT, nullable=False, server_default=sa.func.now()),
    sa.Column("channels", ARRAY(sa.Text), nullable=False),
    sa.Column("payloads", ARRAY(sa.Text), nullable=False),
    sa.Column("published_at", _INSTANT),
    sa.CheckConstraint("cardinality(channels) = cardinality(payloads)", name="outbox_messages"),
    sa.Index("outbox_unpublished", "id", postgresql_where=sa.text("published_at IS NULL")),
)

LIVE_BACKLOG = sa.Table(
    "live_backlog",
    METADATA,
    sa.Column("symbol", sa.Text, primary_key=True),
    sa.Column("timeframe", sa.Text, primary_key=True),
    sa.Column("bar_time", _INSTANT, primary_key=True),
    sa.Column("stored_at", _INSTANT, nullable=False, server_default=sa.func.now()),
)

OPEN_PERIODS = sa.Table(
    "open_periods",
    METADATA,
    sa.Column("symbol", sa.Text, primary_key=True),
    sa.Column("timeframe", sa.Text, primary_key=True),
    sa.Column("period", _INSTANT, primary_key=True),
)

DEFINITION_CHANGES = sa.Table(
    "definition_changes",
    METADATA,
    sa.Column("is_only_row", sa.Boolean, primary_key=True, server_default=sa.true()),
    sa.Column("revision", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.CheckConstraint("is_only_row", name="definition_changes_one_row"),
)
