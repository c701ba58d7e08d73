"""Where Alembic runs its migrations: in the transaction of the connection that ``storage.schema`` hands it.

Migrations run from the program only, so there is neither an alembic.ini nor an offline mode.
"""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table="alembic_version",
    # our tables and Alembic's are in public; Dagster's are in schema dagster, and Dagster migrates those itself
    version_table_schema="public",
)
with context.begin_transaction():
    context.run_migrations()
