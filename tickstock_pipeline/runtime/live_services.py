"""The live path as supervised processes of an instance: a worker, the feed, for a demonstration a market to feed on.

The demonstration plays the last sessions of the sample over Polygon's protocol, an hour in a minute. Only the feed is
pointed at it: imports go on asking the provider that the settings name.
"""

import sys
from collections.abc import Callable, Mapping

from tickstock_pipeline.errors import MessagingError
from tickstock_pipeline.messaging.connection import connect
from tickstock_pipeline.messaging.process_states import feed_state, worker_states
from tickstock_pipeline.runtime.ports import LOOPBACK, any_free_port, is_listening
from tickstock_pipeline.runtime.process import ServiceProcess
from tickstock_pipeline.runtime.supervisor import Supervisor
from tickstock_pipeline.settings import Settings

WORKER = "worker"
FEED = "feed"
MARKET = "replay"

_READY_TIMEOUT_S = 60.0
_DEMONSTRATED = ("--from", "2013-02-25", "--to", "2013-03-01", "--speed", "60")


def start_live(settings: Settings, supervisor: Supervisor, environment: Mapping[str, str]) -> None:
    """Start a worker and the feed of the live source that the settings name, and wait until both work.

    Raises
    ------
    ServiceError
        If one ends or is not ready in time, with the last lines of its log: a key that is refused, for example.
    """
    variables = {**environment, **settings.child_environment()}
    _start(settings, supervisor, WORKER, [WORKER], variables, lambda: _shows_itself(settings, WORKER))
    _start(settings, supervisor, FEED, [FEED], variables, lambda: _shows_itself(settings, FEED))


def start_demonstration(settings: Settings, supervisor: Supervisor, environment: Mapping[str, str]) -> None:
    """Start a worker, a market that plays the sample's last week, and a feed on it.

    Raises
    ------
    ServiceError
        If one ends or is not ready in time, with the last lines of its log.
    """
    variables = {**environment, **settings.child_environment()}
    port = any_free_port()
    _start(settings, supervisor, WORKER, [WORKER], variables, lambda: _shows_itself(settings, WORKER))
    words = [MARKET, "--port", str(port), *_DEMONSTRATED]
    _start(settings, supervisor, MARKET, words, variables, lambda: is_listening(LOOPBACK, port))
    on_the_market = {
        "TICKSTOCK_LIVE_SOURCE": "polygon",
        "TICKSTOCK_LIVE_STAND_IN": "none",
        "TICKSTOCK_PROVIDER": "polygon",
        "TICKSTOCK_POLYGON_URL": f"http://{LOOPBACK}:{port}",
        "TICKSTOCK_POLYGON_STREAM_URL": f"ws://{LOOPBACK}:{port}",
        "TICKSTOCK_POLYGON_API_KEY": "demonstration",
        "TICKSTOCK_POLYGON_CALLS_PER_MINUTE": "0",
    }
    _start(settings, supervisor, FEED, [FEED], variables | on_the_market, lambda: _shows_itself(settings, FEED))


def _start(
    settings: Settings,
    supervisor: Supervisor,
    name: str,
    words: list[str],
    environment: Mapping[str, str],
    is_ready: Callable[[], bool],
) -> None:
    process = ServiceProcess(
        name,
        [sys.executable, "-m", "tickstock_pipeline", *words],
        log_file=settings.home.absolute() / "logs" / f"{name}.log",
        environment=environment,
        stop_timeout=20.0,
    )
    supervisor.start(process)
    process.wait_until_ready(is_ready, timeout=_READY_TIMEOUT_S)


def _shows_itself(settings: Settings, name: str) -> bool:
    try:
        with connect(settings.redis_dsn()) as client:
            return bool(worker_states(client)) if name == WORKER else feed_state(client) is not None
    except MessagingError:
        return False
