"""PostgreSQL and Redis for one instance: those configured by URL are checked, the others are started."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from tickstock_pipeline.runtime.connections import check_database, check_redis
from tickstock_pipeline.runtime.instance import RunningServices, ServiceRecord, instance_lock, published_services
from tickstock_pipeline.runtime.postgres import EmbeddedPostgres
from tickstock_pipeline.runtime.redis import EmbeddedRedis
from tickstock_pipeline.runtime.supervisor import Supervisor
from tickstock_pipeline.settings import Settings


@contextmanager
def running_services(settings: Settings, supervisor: Supervisor | None = None) -> Iterator[Settings]:
    """The instance of ``settings.home``, with its database and Redis answering.

    Enter it from the main thread: on Linux, servers end with the thread that started them.

    Parameters
    ----------
    supervisor : gets the processes started here, first; add your own to it. At the end of the context all of its
        processes are stopped, in reverse order.

    Yields
    ------
    ``settings`` with ``database_url`` and ``redis_url`` set.

    Raises
    ------
    AlreadyRunningError
        If another instance uses the same state directory.
    DatabaseUnreachableError, DatabaseLoginError, RedisUnreachableError, RedisLoginError
        If a configured service cannot be used.
    BinaryNotFoundError, DiskFullError, ServiceError
        If one cannot be started.
    """
    home = settings.home.absolute()
    with instance_lock(home), supervisor or Supervisor() as supervisor:
        # What is configured is checked first: a typing error in a URL should not cost the start of a server.
        if settings.database_url is not None:
            check_database(settings.database_dsn())
        if settings.redis_url is not None:
            check_redis(settings.redis_dsn())
        processes = {}
        if settings.database_url is None:
            postgres = EmbeddedPostgres(home, postgres_bin=settings.postgres_bin)
            database_url = postgres.start()
            supervisor.adopt(postgres.process)
            processes["postgres"] = ServiceRecord(postgres.process.pid, postgres.port)
        else:
            database_url = settings.database_dsn()
        if settings.redis_url is None:
            redis = EmbeddedRedis(home, redis_server=settings.redis_server)
            redis_url = redis.start()
            supervisor.adopt(redis.process)
            processes["redis"] = ServiceRecord(redis.process.pid, redis.port)
        else:
            redis_url = settings.redis_dsn()
        with published_services(home, RunningServices(os.getpid(), database_url, redis_url, processes)):
            try:
                yield settings.with_services(database_url=database_url, redis_url=redis_url)
            finally:
                # Before the record of the instance goes: it is running until its last process has ended.
                supervisor.stop()
