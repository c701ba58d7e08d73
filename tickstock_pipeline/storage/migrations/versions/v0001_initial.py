"""Everything the first version stores: bars, ledger, analysis, definitions, integration.

Revision ID: 0001
"""

from importlib.resources import files

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_SCRIPTS = ("0001_bars.sql", "0001_ledger.sql", "0001_analysis.sql", "0001_integration.sql")


def upgrade() -> None:
    """Create all tables, functions, triggers and views."""
    folder = files("tickstock_pipeline.storage.migrations") / "sql"
    # no_parameters: a percent sign in a script is a percent sign
    connection = op.get_bind().execution_options(no_parameters=True)
    for script in _SCRIPTS:
        connection.exec_driver_sql((folder / script).read_text(encoding="utf-8"))
