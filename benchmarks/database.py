"""A throw-away PostgreSQL server with the product's own settings: what the storage benchmarks write to."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

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
