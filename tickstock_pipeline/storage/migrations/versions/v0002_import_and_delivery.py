"""Universes and membership, dividends, import jobs, and what live delivery needs.

Revision ID: 0002
"""

from importlib.resources import files

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_SCRIPTS = (
    "0002_universes.sql",
    "0002_jobs.sql",
    "0002_delivery.sql",
    "0002_completeness.sql",
    "0002_notify.sql",
    "0002_automation.sql",
    "0002_latest_indicators.sql",
)


def upgrade() -> None:
    """Create the tables, functions, triggers and views."""
    folder = files("tickstock_pipeline.storage.migrations") / "sql"
    # no_parameters: a percent sign in a script is a percent sign
    connection = op.get_bind().execution_options(no_parameters=True)
    for script in _SCRIPTS:
        connection.exec_driver_sql((folder / script).read_text(encoding="utf-8"))
