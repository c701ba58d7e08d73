"""``tickstock worker``: one live worker, until it is asked to stop."""

import logging
import os
import signal
import socket
from typing import Annotated
from uuid import uuid4

import typer

from tickstock_pipeline.errors import SettingsError
from tickstock_pipeline.market.calendar import trading_calendar
from tickstock_pipeline.messaging.connection import connect
from tickstock_pipeline.runtime.attach import attached_settings
from tickstock_pipeline.settings import Settings
from tickstock_pipeline.streaming.worker import LiveWorker, worker_engine

EXAMPLES = """Examples:

tickstock worker

tickstock worker --name second --shards-hint 4
"""

_LONGEST_NAME = 40
_LOG_FORMAT = "%(asctime)s %(levelname)s %(message)s"


def worker(
    name: Annotated[
        str | None, typer.Option(help="Name of this worker, unlike all others'. Default: made of host and process.")
    ] = None,
    shards_hint: Annotated[
        int | None, typer.Option(min=1, help="Take at most so many shards. Default: a fair share.")
    ] = None,
) -> None:
    """Store, analyse and publish live bars; runs until it is asked to stop (Ctrl-C or SIGTERM).

    Several workers share the symbols evenly. One that ends hands its share over at once, one that dies within ten
    seconds.
    """
    settings = attached_settings(Settings.load())
    chosen = name or f"{socket.gethostname()[:20]}-{os.getpid()}-{uuid4().hex[:6]}"
    if len(chosen) > _LONGEST_NAME or not chosen.isprintable():
        raise SettingsError(
            f"The worker's name has more than {_LONGEST_NAME} characters.", advice="Take a shorter one."
        )
    logging.basicConfig(level=settings.log_level, format=_LOG_FORMAT)
    engine = worker_engine(settings.database_dsn(), chosen)
    with connect(settings.redis_dsn()) as client:
        live = LiveWorker(
            chosen,
            engine,
            client,
            trading_calendar(),
            most_shards=shards_hint,
            kept_events=settings.live_events_kept,
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: live.request_stop())
        try:
            live.run()
        finally:
            engine.dispose()
