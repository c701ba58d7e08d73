"""Import jobs through everything: Redis message, sensor, Dagster's runs, the real client, a provider on this machine.

What an administrator waits for, Dagster's share included, from the message to the status ``completed``.
"""

import json
import time
from datetime import date, timedelta

import redis
from rich.table import Table

from benchmarks.database import show
from benchmarks.instance import running_instance
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.messaging.channels import JOBS, job_status_key
from tickstock_pipeline.replay.server import ReplayServer
from tickstock_pipeline.replay.synthetic import SyntheticSource

SYMBOLS = 500
TARGET_SECONDS = 90
_LONGEST_S = 900.0


def measure() -> list[Table]:
    """Seconds from the message to ``completed``, for days alone, for days again, and with their analysis."""
    table = Table(title=f"Jobs over {SYMBOLS} symbols, 1 year of days; the aim is {TARGET_SECONDS} s for the first")
    for column in ("job", "bars", "seconds", "requests"):
        table.add_column(column, justify="left" if column == "job" else "right")
    today = date.today()
    source = SyntheticSource(SYMBOLS, date(today.year - 1, 1, 1), today - timedelta(days=1))
    symbols = [listing.symbol for listing in source.listings()]
    with ReplayServer(source) as server, running_instance(_settings(server.url, today.year - 1)) as instance:
        client = redis.Redis.from_url(instance.services.redis_url, decode_responses=True)
        n_bars = len(symbols) * len(source.bars(symbols[0], Timeframe.DAILY, date(today.year - 1, 1, 1), today))
        for name, wishes in (
            ("import", {}),
            ("the same again", {}),
            ("import and analyse", {"run_analysis_after_import": True}),
        ):
            server.requests.clear()
            seconds = _run(client, f"bench_{name.replace(' ', '_')}", symbols, wishes)
            table.add_row(name, f"{n_bars:,}", f"{seconds:.0f}", f"{server.requests.count():,}")
        client.close()
    return [table]


def _settings(provider_url: str, first_year: int) -> dict[str, str]:
    return {
        "TICKSTOCK_PROVIDER": "polygon",
        "TICKSTOCK_POLYGON_URL": provider_url,
        "TICKSTOCK_POLYGON_API_KEY": "replay",
        "TICKSTOCK_POLYGON_CALLS_PER_MINUTE": "0",
        "TICKSTOCK_FIRST_YEAR": str(first_year),
    }


def _run(client: "redis.Redis", job_id: str, symbols: list[str], wishes: dict[str, object]) -> float:
    message = {
        "job_id": job_id,
        "job_type": "csv_universe_load",
        "symbols": symbols,
        "timeframes": ["daily"],
        "years": 1,
        **wishes,
    }
    begin = time.monotonic()
    client.publish(JOBS, json.dumps(message))
    while time.monotonic() - begin < _LONGEST_S:
        # what the consumer application does: poll the key
        time.sleep(0.2)
        found = client.get(job_status_key(job_id))
        status = json.loads(found) if isinstance(found, str) else {"status": "submitted"}
        if status["status"] in {"failed", "cancelled"}:
            raise RuntimeError(f"job {job_id}: {status['error_message']}")
        if status["status"] == "completed":
            return time.monotonic() - begin
    raise RuntimeError(f"job {job_id} is not over after {_LONGEST_S} s")


if __name__ == "__main__":
    show(measure())
