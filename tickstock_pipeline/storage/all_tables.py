"""All tables: importing this module declares every one of them, for whoever needs the whole list."""

from tickstock_pipeline.storage import automation_tables, delivery_tables, job_tables, tables, universe_tables

METADATA = tables.METADATA
DECLARED_IN = (tables, universe_tables, job_tables, delivery_tables, automation_tables)
