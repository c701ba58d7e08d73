"""``tickstock up``: everything that runs on one machine, from nothing to a finished first job, and down again.

1. Take the state directory for ourselves; check the ports, before anything is started.
2. Start PostgreSQL and Redis, or check the ones that the settings name; migrate.
3. Start Dagster's code server and webserver, clear away what a killed instance left over, start the daemon and the
   gateway.
4. Register the provider's symbols, ask the ledger which partitions are missing or stale, and launch exactly those as
   one native backfill. Repeat for what a killed or failed run left over; give up when a round brings nothing.
5. Start the live path where the settings name a live source, or a demonstration of it on request.
6. Stay until asked to stop, or until a process ends by itself.

A failure at any step stops whatever was started, in reverse order.
"""

import hashlib
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from tickstock_pipeline.batch.plan import Targets, stale_targets
from tickstock_pipeline.errors import ServiceError, StorageError
from tickstock_pipeline.market.calendar import trading_calendar
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.providers.registry import historical_provider
from tickstock_pipeline.runtime import gateway_service
from tickstock_pipeline.runtime.backfill_progress import BackfillProgress
from tickstock_pipeline.runtime.dagster_services import start_dagster
from tickstock_pipeline.runtime.gateway_service import start_gateway
from tickstock_pipeline.runtime.instance import ServiceRecord, instance_lock, is_running, record_process
from tickstock_pipeline.runtime.live_services import start_demonstration, start_live
from tickstock_pipeline.runtime.orchestrator import Orchestrator
from tickstock_pipeline.runtime.ports import require_free_port
from tickstock_pipeline.runtime.process import ServiceProcess
from tickstock_pipeline.runtime.services import running_services
from tickstock_pipeline.runtime.supervisor import Supervisor
from tickstock_pipeline.settings import Settings
from tickstock_pipeline.storage.engine import create_engine
from tickstock_pipeline.storage.schema import upgrade
from tickstock_pipeline.storage.symbols import read_symbols

_FIRST_JOB = "first-import"
_MOST_ROUNDS = 4
_DEATH_NOTICED_S = 2.0


class Announcer(Protocol):
    """Whoever tells a person what happens."""

    def step(self, words: str) -> None:
        """Something begins that takes more than a moment."""

    def note(self, words: str) -> None:
        """Something that is worth knowing has happened."""

    def progress(self, progress: BackfillProgress) -> None:
        """The state of the backfill under way."""


@dataclass(frozen=True)
class RunningPipeline:
    """What runs, while it runs."""

    settings: Settings
    web_url: str
    supervisor: Supervisor

    def wait(self) -> None:
        """Return when a stop is requested.

        Raises
        ------
        ServiceError
            If a process ends by itself.
        """
        ended = self.supervisor.wait()
        if ended is not None:
            raise ended.failure("ended by itself")

    def require_all_alive(self, *, patience_seconds: float = 0.0) -> None:
        """Do nothing if every process runs, and goes on running for ``patience_seconds``.

        Raises
        ------
        ServiceError
            Names the process that has ended, with the last lines of its log.
        """
        deadline = time.monotonic() + patience_seconds
        while True:
            for process in self.supervisor.processes:
                if not process.is_alive:
                    raise process.failure("ended by itself")
            if time.monotonic() >= deadline:
                return
            time.sleep(0.05)


def _job_tags(settings: Settings) -> dict[str, str]:
    # Of this state directory on this machine: another instance may share the database, and its job is not ours to end.
    place = f"{socket.gethostname()}:{settings.home.absolute()}"
    return {"tickstock/job": _FIRST_JOB, "tickstock/instance": hashlib.sha256(place.encode()).hexdigest()[:12]}


@contextmanager
def running_pipeline(settings: Settings, announcer: Announcer) -> Iterator[RunningPipeline]:
    """Steps 1 to 3: the services, the schema, Dagster and the gateway, running until the context ends.

    Enter it from the main thread: servers end with the thread that started them.

    Raises
    ------
    TickstockError
        Whatever is wrong, after everything that was started has been stopped again.
    """
    if is_running(settings.home):
        with instance_lock(settings.home):  # names the other instance, whose port is taken as well
            pass
    require_free_port(settings.web_host, settings.web_port, "Dagster's web UI", "TICKSTOCK_WEB_PORT")
    require_free_port(settings.gateway_host, settings.gateway_port, "the gateway", "TICKSTOCK_GATEWAY_PORT")
    is_embedded = settings.database_url is None
    supervisor = Supervisor()
    announcer.step("Starting PostgreSQL and Redis" if is_embedded else "Checking PostgreSQL and Redis")
    with running_services(settings, supervisor) as services:
        announcer.step("Bringing the database schema up to date")
        upgrade(services.database_dsn())
        announcer.step("Starting Dagster and the gateway")
        before = supervisor.processes
        dagster = start_dagster(services, supervisor, dict(os.environ), _job_tags(settings))
        start_gateway(services, supervisor, dict(os.environ))
        _record(settings, supervisor, before)
        if dagster.repeated_runs:
            announcer.note(f"An earlier instance was killed in the middle of {dagster.repeated_runs} runs: repeated.")
        yield RunningPipeline(services, dagster.url, supervisor)


def start_live_path(pipeline: RunningPipeline, announcer: Announcer) -> None:
    """Step 5: the worker and the feed; without a live source in the settings, a demonstration of them on the sample.

    Enter it from the main thread, within the context of :func:`running_pipeline`.

    Raises
    ------
    ServiceError
        If a process cannot be started, or ends by itself meanwhile.
    """
    settings, supervisor = pipeline.settings, pipeline.supervisor
    before = supervisor.processes
    if settings.live == "none":
        announcer.step("Starting a live demonstration on the sample's last week")
        start_demonstration(settings, supervisor, os.environ)
    else:
        announcer.step(f"Starting the live path, fed by {settings.live}")
        start_live(settings, supervisor, os.environ)
    _record(settings, supervisor, before)


def _record(settings: Settings, supervisor: Supervisor, before: Sequence[ServiceProcess]) -> None:
    ports = {"webserver": settings.web_port, gateway_service.NAME: settings.gateway_port}
    for process in supervisor.processes:
        if process not in before:
            record_process(settings.home.absolute(), process.name, ServiceRecord(process.pid, ports.get(process.name)))


def import_and_analyse(pipeline: RunningPipeline, announcer: Announcer) -> dict[str, int]:
    """Step 4: every bar that the provider lists, and its analysis, by native backfills.

    Left out is what a backfill of somebody else's is about to do; one that was under way when an instance ended goes
    on.

    Returns
    -------
    What could not be done: asset → number of partitions that are still missing or stale; empty if all is well.

    Raises
    ------
    ServiceError
        If a process ends by itself meanwhile.
    """
    settings = pipeline.settings
    provider = historical_provider(settings)
    calendar = trading_calendar()
    engine = create_engine(settings.database_dsn())
    with engine.connect() as connection:
        # A provider that cannot tell what it has is asked for what somebody has asked for before.
        symbols = [listing.symbol for listing in provider.catalogue()] or read_symbols(connection)
    left: dict[str, int] = {}
    try:
        with Orchestrator(pipeline.web_url) as orchestrator:
            new = orchestrator.add_symbols(symbols)
            if new:
                announcer.note(f"Registered {len(new)} symbols: {', '.join(new[:10])}{' …' if len(new) > 10 else ''}")
            for rounds_left in reversed(range(_MOST_ROUNDS + 1)):
                with engine.connect() as connection:
                    stale = stale_targets(connection, provider, calendar, settings.first_year)
                targets = _without(orchestrator.under_way(), stale)
                before, left = left, {asset: len(partitions) for asset, partitions in targets.items() if partitions}
                if not left or left == before or not rounds_left:
                    break
                backfill = orchestrator.launch_backfill(targets, title="Import and analyse", tags=_job_tags(settings))
                for progress in orchestrator.watch(backfill):
                    pipeline.require_all_alive()
                    announcer.progress(progress)
                if not progress.has_succeeded:
                    words = f": {progress.error}" if progress.error else "."
                    announcer.note(f"Dagster ended backfill {backfill} as {progress.status}{words}")
    except (ServiceError, StorageError):
        # A dead process is the reason for whatever went wrong in talking to it; its end is noticed a moment later.
        pipeline.require_all_alive(patience_seconds=_DEATH_NOTICED_S)
        raise
    finally:
        engine.dispose()
    return left


def _without(under_way: Mapping[str, set[Partition] | None], targets: Targets) -> Targets:
    """``targets`` but for what backfills under way do; of an asset with None they may do anything."""
    return {
        asset: [
            partition
            for partition in partitions
            if asset not in under_way or ((theirs := under_way[asset]) is not None and partition not in theirs)
        ]
        for asset, partitions in targets.items()
    }
