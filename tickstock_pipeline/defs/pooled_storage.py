"""Dagster's own tables, over connections that are kept.

dagster-postgres opens a connection for each query, because a process may have many of Dagster's instances, each with
connections of its own. Here they share those of the process. See docs/decisions/0011.
"""

import threading
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage
from dagster_postgres.utils import create_pg_engine, get_token_provider_from_config, pg_url_from_config

# More are opened where more threads ask at once, and closed again.
_KEPT = 2
_LONGEST_KEPT_S = 600

_engines: dict[str, sa.Engine] = {}
_lock = threading.Lock()


class PooledPostgresStorage(DagsterPostgresStorage):
    """The storage of dagster-postgres, configured like it, whose queries share the connections of the process.

    A connection that the server has closed meanwhile is replaced before it is used.
    """

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> "PooledPostgresStorage":
        """Dagster's constructor from ``dagster.yaml``; the tables are looked for once in a process."""
        url = pg_url_from_config(config_value)
        tokens = get_token_provider_from_config(config_value)
        with _lock:
            creates_tables = url not in _engines and config_value.get("should_autocreate_tables", True)
            storage = cls(url, creates_tables, inst_data, tokens)
            if url not in _engines:
                _engines[url] = create_pg_engine(
                    url,
                    tokens,
                    isolation_level="AUTOCOMMIT",
                    pool_size=_KEPT,
                    max_overflow=-1,
                    pool_recycle=_LONGEST_KEPT_S,
                    pool_pre_ping=True,
                )
            engine = _engines[url]
        # Dagster's parts have no parameter for it
        for part in (storage._run_storage, storage._event_log_storage, storage._schedule_storage):
            part._engine = engine
        return storage
