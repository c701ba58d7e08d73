"""A throw-away PostgreSQL server with the product's own settings: what the storage benchmarks write to."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import cast

import sqlalchemy as sa
from rich.console import Console
from rich.table import Table

from benchmarks.machine import description
from tickstock_pipeline.runtime.postgres import EmbeddedPostgres
from tickstock_pipeline.storage import schema
from tickstock_pipeline.storage.engine import create_engine


@contextmanager
def database() -> Iterator[sa.Engine]:
    """An engine on a fresh, migrated database that is durable (``fsync`` on); all is deleted at the end."""
    with tempfile.TemporaryDirectory(prefix="tickstock-benchmark-") as folder:
        server = EmbeddedPostgres(Path(folder))
        try:
            url = server.start()
            schema.upgrade(url)
            engine = create_engine(url)
            try:
                yield engine
            finally:
                engine.dispose()
        finally:
            server.stop()


def settle(engine: sa.Engine) -> None:
    """Do now what the server would do in the background during a measurement: statistics, dirty pages."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE")
        connection.exec_driver_sql("CHECKPOINT")


def adbc_driver() -> ModuleType | None:
    """The ADBC driver's DB-API, which the product does not depend on; None where it is not installed."""
    try:
        from adbc_driver_postgresql import dbapi
    except ImportError:
        return None
    return cast(ModuleType, dbapi)


def libpq_url(engine: sa.Engine) -> str:
    """The engine's database for a driver other than SQLAlchemy's; a secret."""
    return engine.url.set(drivername="postgresql").render_as_string(hide_password=False)


def show(tables: Sequence[Table]) -> None:
    """Print what one benchmark measured."""
    console = Console()
    console.print(description())
    for table in tables:
        console.print(table)
