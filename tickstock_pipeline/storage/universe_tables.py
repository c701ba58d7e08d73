"""The tables of universes and their members, for statements; see ``migrations/sql/0002_universes.sql``."""

import sqlalchemy as sa

from tickstock_pipeline.storage.tables import METADATA

UNIVERSES = sa.Table(
    "universes",
    METADATA,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("folded_key", sa.Text, sa.Computed("replace(key, '_', '')", persisted=True), nullable=False, unique=True),
    sa.Column("source", sa.Text, nullable=False, server_default="external"),
    sa.Column("first_as_of", sa.Date, nullable=False),
    sa.Column("as_of", sa.Date, nullable=False),
    sa.Column("updated_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.CheckConstraint("key ~ '^[a-z0-9]+(_[a-z0-9]+)*$' AND length(key) <= 64", name="universes_key"),
    sa.CheckConstraint("first_as_of <= as_of", name="universes_as_of"),
)

UNIVERSE_MEMBERS = sa.Table(
    "universe_members",
    METADATA,
    sa.Column("universe", sa.Text, sa.ForeignKey("universes.key", ondelete="CASCADE"), primary_key=True),
    sa.Column("symbol", sa.Text, primary_key=True),
    sa.Column("joined_on", sa.Date, primary_key=True),
    sa.Column("left_on", sa.Date),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("name", sa.Text),
    sa.CheckConstraint("left_on > joined_on", name="universe_members_left_on"),
    sa.Index(
        "universe_members_current",
        "universe",
        "symbol",
        unique=True,
        postgresql_where=sa.text("left_on IS NULL"),
    ),
    sa.Index("universe_members_symbol", "symbol"),
)
