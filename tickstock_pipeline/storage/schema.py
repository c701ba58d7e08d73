"""The database's schema version: bringing it up to date, and refusing to work on another one.

A server may be shared, and two processes may start at once: migrations run under an advisory lock and in one
transaction, so the schema is either the old one or the new one.
"""

from importlib.resources import as_file, files

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from tickstock_pipeline.errors import SchemaVersionError
from tickstock_pipeline.storage.definitions import seed_definitions
from tickstock_pipeline.storage.engine import create_engine

# any constant will do, as long as no other program on the server takes the same one
_UPGRADE_LOCK = 0x7469636B73746F63


def upgrade(dsn: str) -> None:
    """Create or update the schema, and add the default definitions that are missing.

    Also creates the schema ``dagster``, empty, for Dagster's own tables. Waits for another process that is upgrading
    the same database. Existing definition rows are left as they are.

    Raises
    ------
    SchemaVersionError
        If the database has a newer schema than this program.
    DatabaseUnreachableError, DatabaseLoginError
        If the database cannot be connected to.
    """
    engine = create_engine(dsn, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_UPGRADE_LOCK)))
        # a search_path of the role's or the URL's own must not decide where our tables are created
        connection.exec_driver_sql("SET LOCAL search_path TO public")
        connection.exec_driver_sql("CREATE SCHEMA IF NOT EXISTS dagster")
        _refuse_newer(current_revision(connection))
        with as_file(files("tickstock_pipeline.storage") / "migrations") as folder:
            config = _config(str(folder))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        seed_definitions(connection)


def current_revision(connection: sa.Connection) -> str | None:
    """The revision that the database has; None before the first upgrade."""
    context = MigrationContext.configure(connection, opts={"version_table_schema": "public"})
    return context.get_current_revision()


def head_revision() -> str:
    """The revision that this program needs."""
    return _known_revisions()[0]


def require_head(connection: sa.Connection) -> None:
    """Do nothing if the database's schema is the one that this program needs.

    Raises
    ------
    SchemaVersionError
        If the schema is missing, older or newer; the advice says which of the two to update.
    """
    revision = current_revision(connection)
    _refuse_newer(revision)
    if revision != head_revision():
        raise SchemaVersionError(
            f"The database has schema version {revision or 'none'}; this program needs {head_revision()}.",
            advice="Run `tickstock db upgrade`.",
        )


def _refuse_newer(revision: str | None) -> None:
    if revision is not None and revision not in _known_revisions():
        raise SchemaVersionError(
            f"The database has schema version {revision}, which is newer than this program's {head_revision()}.",
            advice="Update the program: pip install --upgrade tickstock-pipeline",
        )


def _known_revisions() -> list[str]:
    """All revisions of this program, newest first."""
    with as_file(files("tickstock_pipeline.storage") / "migrations") as folder:
        scripts = ScriptDirectory.from_config(_config(str(folder)))
        return [script.revision for script in scripts.walk_revisions()]


def _config(folder: str) -> Config:
    config = Config()
    # a percent sign in the path is no interpolation
    config.set_main_option("script_location", folder.replace("%", "%%"))
    return config
